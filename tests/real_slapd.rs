//! Checks of a directory against a real one.

mod support;

use evenkeel::probe::Layer;
use support::asking::{bad, good, probe};
use support::real_slapd::RealSlapd;

const BOSS: &str = "type = 'ldap'\nuser = 'cn=boss,dc=example'\npassword = ";

#[tokio::test]
async fn a_directory_binds_anybody_or_whoever_has_the_password() {
    let server = RealSlapd::start("127.0.3.1", "").await;
    good(&probe("type = 'ldap'", server.address).await, "bound as nobody");
    good(&probe(&format!("{BOSS}'letmein8'"), server.address).await, "bound");
    bad(&probe(&format!("{BOSS}'guessed8'"), server.address).await, Layer::Answer, "`user` or `password` is wrong");
    let stranger = "type = 'ldap'\nuser = 'no name'\npassword = 'letmein8'";
    bad(&probe(stranger, server.address).await, Layer::Answer, "the name of `user`");
}

#[tokio::test]
async fn a_directory_that_lets_in_nobody_anonymous_is_alive() {
    let server = RealSlapd::start("127.0.3.2", "disallow bind_anon").await;
    good(&probe("type = 'ldap'", server.address).await, "alive (code 48");
    good(&probe(&format!("{BOSS}'letmein8'"), server.address).await, "bound");
}

#[tokio::test]
async fn a_directory_that_wants_tls_says_so() {
    let server = RealSlapd::start("127.0.3.3", "security simple_bind=128").await;
    good(&probe("type = 'ldap'", server.address).await, "");
    bad(&probe(&format!("{BOSS}'letmein8'"), server.address).await, Layer::Answer, "it wants TLS first");
}
