//! The keys of what a request must pass.

use super::Words;

pub(in super::super) const RATE: Words = Words {
    place: "rate = { ... }",
    keys: &["per", "requests", "every", "burst"],
    later: &["delay", "status"],
    foreign: &[
        ("average", "requests"),
        ("limit", "requests"),
        ("rps", "requests"),
        ("period", "every"),
        ("interval", "every"),
        ("window", "every"),
        ("key", "per"),
        ("source", "per"),
        ("sourceCriterion", "per"),
        ("zone", "per"),
    ],
};

pub(in super::super) const CORS: Words = Words {
    place: "cors = { ... }",
    keys: &["origins", "methods", "headers", "expose", "credentials", "max_age"],
    later: &["private_network"],
    foreign: &[
        ("origin", "origins"),
        ("allow_origins", "origins"),
        ("allow_origin", "origins"),
        ("accessControlAllowOriginList", "origins"),
        ("accessControlAllowMethods", "methods"),
        ("accessControlAllowHeaders", "headers"),
        ("allow_methods", "methods"),
        ("allow_headers", "headers"),
        ("expose_headers", "expose"),
        ("allow_credentials", "credentials"),
        ("maxAge", "max_age"),
    ],
};

pub(in super::super) const BASIC_AUTH: Words = Words {
    place: "basic_auth = { ... }",
    keys: &["users", "realm", "authorization", "user_header"],
    later: &["groups"],
    foreign: &[
        ("file", "users"),
        ("usersFile", "users"),
        ("auth_basic_user_file", "users"),
        ("htpasswd", "users"),
        ("password", "users = \"users.htpasswd\": a secret stands in a file of its own"),
        ("removeHeader", "authorization = \"remove\""),
        ("headerField", "user_header"),
        ("header", "user_header"),
    ],
};

pub(in super::super) const FORWARD_AUTH: Words = Words {
    place: "forward_auth = { ... }",
    keys: &["pool", "path", "request_headers", "response_headers", "timeout", "on_failure"],
    later: &["cache", "body"],
    foreign: &[
        ("address", "pool, with the address among its backends, and path"),
        ("url", "pool, with the address among its backends, and path"),
        ("authRequestHeaders", "request_headers"),
        ("authResponseHeaders", "response_headers"),
        ("copy_headers", "response_headers"),
        ("uri", "path"),
        ("failure_mode_allow", "on_failure = \"allow\""),
    ],
};

pub(in super::super) const COMPRESS: Words = Words {
    place: "compress = { ... }",
    keys: &["types", "min", "with"],
    later: &["level"],
    foreign: &[
        ("algo", "with"),
        ("encodings", "with"),
        ("algorithms", "with"),
        ("gzip_types", "types"),
        ("content_types", "types"),
        ("includedContentTypes", "types"),
        ("minimum_length", "min"),
        ("gzip_min_length", "min"),
        ("minResponseBodyBytes", "min"),
    ],
};
