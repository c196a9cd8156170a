//! Roles on the wire: which of several backends has the work, how it changes hands, and what becomes of requests and
//! sessions meanwhile.
//!
//! Who reads is told in `reads.rs`, which sessions end in `sessions.rs`, what orders are in `operate.rs`; what the
//! systems themselves do stands in `systems`.

#[path = "../support/mod.rs"]
mod support;

mod active_standby;
mod follows;
mod leader;
mod two_leaders;

use support::origin::Script;
use support::{Balancer, Origin, client};

/// Asked often; a role changes by one answer, and a busy machine's single late one takes nobody down.
const QUICK: &str = "interval = '300ms', timeout = '300ms', fast_interval = '50ms', rise = 1, fall = 2";

/// What a backend tells its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// That it leads, and since which election, where it tells that.
    Active(Option<u64>),
    Standby,
}

/// Backends `b0`, `b1`, … behind HTTP listeners `web` and `reads` and a TCP listener `raw`. Each answers every page, whatever its
/// role is, so that nobody but the balancer keeps work from it.
struct Cast {
    origins: Vec<Origin>,
    lb: Balancer,
}

impl Cast {
    /// Of which the first has the work; keys of the pool `p`.
    fn new(says: &[Says], keys: &str) -> Self {
        let origins: Vec<Origin> = says.iter().enumerate().map(|(at, says)| script(at, *says).start()).collect();
        let lb = Balancer::start(&config(&origins, keys));
        lb.is_active(Some("b0"));
        Self { origins, lb }
    }

    /// The same backends behind a balancer that is started anew.
    fn restarted(self, config: &str) -> Self {
        let Self { origins, lb } = self;
        drop(lb);
        Self { origins, lb: Balancer::start(config) }
    }

    fn becomes(&self, backend: usize, says: Says) {
        self.origins[backend].becomes(script(backend, says));
    }

    /// Who serves now, over some requests of connections of their own.
    #[track_caller]
    fn served_by(&self, name: &str) {
        for _ in 0..10 {
            let answer = self.lb.get("/");
            assert_eq!((answer.status, answer.text()), (200, name.to_owned()));
        }
    }

    /// Nobody serves.
    #[track_caller]
    fn refused(&self) {
        let work = self.work();
        for _ in 0..10 {
            let answer = self.lb.get("/");
            assert_eq!(answer.status, 503, "{}", answer.text());
        }
        assert_eq!(self.work(), work, "somebody was asked");
    }

    /// Pages that each backend was asked for.
    fn work(&self) -> Vec<usize> {
        self.origins.iter().map(|origin| origin.requests_for("/")).collect()
    }

    /// Waits until this backend is up or is not.
    #[track_caller]
    fn up(&self, backend: usize, up: bool) {
        let metric = format!("evenkeel_backend_up{{pool=p,backend=b{backend}}}");
        self.lb.counts(&metric, f64::from(u8::from(up)));
    }

    /// A tunnel through the listener `raw` that has spoken to its backend.
    fn session(&self) -> support::Client {
        let mut session = client::websocket(self.lb.addr("raw"), "/socket");
        assert!(session.echoes("hello"));
        session
    }
}

fn script(number: usize, says: Says) -> Script {
    let role = match says {
        Says::Active(Some(term)) => Origin::http().reply(format!("{{\"term\": {term}}}")),
        Says::Active(None) => Origin::http(),
        Says::Standby => Origin::http().status(429),
    };
    Origin::http().reply(format!("b{number}")).at("/role", role).at("/socket", Origin::http().upgrade_echo())
}

fn config(origins: &[Origin], keys: &str) -> String {
    let backend = |(at, origin): (usize, &Origin)| format!("{{ name = 'b{at}', address = '{}' }}", origin.addr());
    let backends: Vec<String> = origins.iter().enumerate().map(backend).collect();
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
         [listener.raw]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
         [listener.reads]\nbind = '127.0.0.1:0'\npool = 'p'\nreads = 'standby'\n\
         [pool.p]\nbackends = [{}]\n{keys}\n",
        backends.join(", ")
    )
}

/// `mode = "leader"`, and the check that asks who leads, with these keys.
fn by_role(check: &str) -> String {
    let status = "status = { 200 = 'active', 429 = 'standby' }";
    format!("mode = 'leader'\ncheck.role = {{ type = 'http', path = '/role', {status}, {check} }}\n")
}
