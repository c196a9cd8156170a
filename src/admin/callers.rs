//! Who asks: whose token or certificate it is that a request shows, and what that opens.
//!
//! A token that is kept as a hash is proved once, on a thread of low priority, one at a time and in a queue that is
//! bounded; of one that was right a keyed mark is remembered for as long as the configuration has that token, so that a
//! scrape costs no slow hash. Tokens that nobody knows are counted by whoever shows them, and refused unread beyond an
//! allowance: guessing is slow, and costs others nothing. Those that are known never wait and never count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::time::timeout;

use super::AdminState;
use super::access::{Refusal, bearer, host_is_own, same};
use crate::clock;
use crate::config::model::{Admin, CertificateRole, ClientTrust, NO_ADDRESS, Per, Rate, Role, Token, TokenSecret};
use crate::net::tls::ClientCertificate;
use crate::route::mark::{Mark, MarkKey};
use crate::route::proving::Prover;
use crate::route::rate::{Key, Limiter};

/// Tokens that nobody knows, of one address, at once …
const UNKNOWN_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).expect("ten");
/// … and then one in this time.
const UNKNOWN_EVERY: Duration = Duration::from_secs(1);
/// Requests that wait until theirs is proved.
const MAX_WAITING: usize = 64;
/// Below everything else (nice(2)), but above passwords of traffic: an operator waits, and there is one at a time.
const NICE: i32 = 10;
/// Who has waited for so long waits behind a flood.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to ask again where too many wait.
const BUSY: Duration = Duration::from_secs(2);

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// [`NO_ADDRESS`] by a unix socket.
    pub(super) address: IpAddr,
    /// The user at the other end of a unix socket.
    pub(super) user: Option<u32>,
    /// The certificate that it has shown.
    pub(super) shown: Option<Shown>,
}

/// A certificate that was trusted when its connection began.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) certificate: Arc<ClientCertificate>,
    /// By whom it was judged. Where others judge now, it proves nothing: whoever has it connects anew.
    pub(super) trust: Option<ClientTrust>,
}

impl Shown {
    /// What it opens.
    fn opens(&self, state: &AdminState, admin: &Arc<Admin>) -> Option<CertificateRole> {
        let trust = state.tls(admin)?.trust();
        if trust.is_none() || trust != self.trust {
            return None;
        }
        admin.clients.iter().find(|client| self.certificate.holder.has(&client.name)).cloned()
    }
}

impl Peer {
    /// Counts in rates: users of this machine apart, as addresses are.
    pub(super) fn ask(&self, limiter: &Limiter) -> Result<(), Duration> {
        let now = clock::nanos();
        match self.user {
            Some(user) => limiter.ask(Key::Text(&user.to_ne_bytes()), now),
            None => limiter.ask(Key::Client(self.address), now),
        }
    }

    /// The same for somebody who is known: whoever floods from the same address does not count against it.
    pub(super) fn ask_as(&self, name: &str, limiter: &Limiter) -> Result<(), Duration> {
        let key = format!("{name} {}", self.words());
        limiter.ask(Key::Text(key.as_bytes()), clock::nanos())
    }

    /// As logs say it.
    pub(super) fn words(&self) -> String {
        match self.user {
            Some(user) => format!("uid {user}"),
            None if self.address == NO_ADDRESS => "unix".to_owned(),
            None => self.address.to_canonical().to_string(),
        }
    }
}

/// Somebody who may come in.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// What it may do.
    pub(super) role: Role,
    by: By,
}

/// By what somebody came in.
#[derive(Debug, Clone)]
enum By {
    /// Nobody is asked.
    Open,
    Token(Token),
    /// A certificate with a name that has this role.
    Certificate(CertificateRole, Shown),
}

impl Caller {
    /// By what it came in: `token`, `certificate`, or `open` where nobody is asked.
    pub(super) fn by(&self) -> &'static str {
        match self.by {
            By::Open => "open",
            By::Token(_) => "token",
            By::Certificate(..) => "certificate",
        }
    }

    /// The name of its token, or of its certificate as the configuration has it.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.by {
            By::Open => None,
            By::Token(token) => Some(&token.name),
            By::Certificate(client, _) => Some(&client.name),
        }
    }

    /// Whether it may change something.
    pub(super) fn may_operate(&self) -> bool {
        self.role >= Role::Operate
    }

    /// Whether it may still come in, and as the same.
    fn is_welcome(&self, state: &AdminState) -> bool {
        let admin = state.admin();
        match &self.by {
            By::Open => !admin.asks(),
            By::Token(token) => admin.tokens.contains(token),
            By::Certificate(client, shown) => shown.opens(state, &admin).as_ref() == Some(client),
        }
    }

    /// Ends when it may come in no more: at a reload without its token, or with another role for it.
    pub(super) async fn revoked(self, state: Arc<AdminState>) {
        loop {
            // Whatever changes the configuration is an event, and one after the change.
            let last = state.events.last();
            if !self.is_welcome(&state) {
                return;
            }
            state.events.grown_beyond(last).await;
        }
    }
}

/// Who has come in lately, and what it takes to find out.
#[derive(Debug)]
pub(super) struct Callers {
    key: MarkKey,
    /// Whose marks are whose. One for each token at most.
    known: Mutex<HashMap<Mark, Token>>,
    unknown: Limiter,
    waiting: Semaphore,
    /// One at a time.
    turn: Turn<()>,
    prover: Prover,
}

impl Callers {
    pub(super) fn new() -> Self {
        let rate =
            Rate { per: Per::Client, requests: NonZeroU32::MIN, every: UNKNOWN_EVERY, burst: UNKNOWN_AT_ONCE };
        Self {
            key: MarkKey::new(),
            known: Mutex::default(),
            unknown: Limiter::new(&rate),
            waiting: Semaphore::new(MAX_WAITING),
            turn: Turn::new(()),
            prover: Prover::new("tokens", 1, MAX_WAITING, NICE),
        }
    }

    /// Who sends this, as far as it is known at once.
    pub(super) fn recognize(&self, headers: &HeaderMap, peer: &Peer, state: &AdminState) -> Option<Caller> {
        let admin = state.admin();
        match bearer(headers) {
            Some(given) => self.find(given, &admin).map(Caller::of),
            None => Caller::by_certificate(peer.shown.as_ref()?, state, &admin),
        }
    }

    /// Who sends this, where it is not known at once.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        state: &AdminState,
    ) -> Result<Caller, Refusal> {
        let admin = state.admin();
        if !admin.asks() {
            let open = Caller { role: Role::Operate, by: By::Open };
            return if host_is_own(headers) { Ok(open) } else { Err(Refusal::Host) };
        }
        let Some(given) = bearer(headers) else {
            return Err(if peer.shown.is_some() { Refusal::Certificate } else { Refusal::Token });
        };
        peer.ask(&self.unknown).map_err(Refusal::Slower)?;
        let hashed = admin.tokens.iter().filter(|token| matches!(token.secret, TokenSecret::Hashed(_)));
        let hashed: Vec<Token> = hashed.cloned().collect();
        if hashed.is_empty() {
            return Err(Refusal::Token);
        }
        let token = self.prove(given, hashed, state).await?;
        // It may have been taken away meanwhile.
        if state.admin().tokens.contains(&token) { Ok(Caller::of(token)) } else { Err(Refusal::Token) }
    }

    /// Whose token this is, as far as that is known at once.
    fn find(&self, given: &str, admin: &Admin) -> Option<Token> {
        let is = |token: &&Token| matches!(&token.secret, TokenSecret::Plain(text) if same(given.as_bytes(), text.as_bytes()));
        // All of them are looked at, so that the time tells nothing.
        let plain = admin.tokens.iter().filter(is).fold(None, |first: Option<&Token>, it| first.or(Some(it)));
        if plain.is_some() {
            return plain.cloned();
        }
        let known = self.known().get(&self.key.mark(&[given.as_bytes()])).cloned();
        known.filter(|token| admin.tokens.contains(token))
    }

    /// Finds out whose token this is.
    async fn prove(&self, given: &str, among: Vec<Token>, state: &AdminState) -> Result<Token, Refusal> {
        let busy = || Refusal::Busy(BUSY);
        let _place = self.waiting.try_acquire().map_err(|_full| busy())?;
        let proving = async {
            let _turn = self.turn.lock().await;
            // Somebody may have shown the same while this one waited.
            if let Some(token) = self.find(given, &state.admin()) {
                return Ok(token);
            }
            let text = given.as_bytes().to_vec();
            let fits = move |token: &Token| matches!(&token.secret, TokenSecret::Hashed(secret) if secret.fits(&text));
            let proof = self.prover.submit(move || among.into_iter().find(fits)).ok_or_else(busy)?;
            let token = proof.await.map_err(|_ended| busy())?.ok_or(Refusal::Token)?;
            let mut known = self.known();
            known.retain(|_, it| it.name != token.name && state.admin().tokens.contains(it));
            known.insert(self.key.mark(&[given.as_bytes()]), token.clone());
            Ok(token)
        };
        timeout(PATIENCE, proving).await.unwrap_or_else(|_elapsed| Err(busy()))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Mark, Token>> {
        // Whoever panicked here, which nobody does, would have left a whole map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    fn of(token: Token) -> Self {
        Self { role: token.role, by: By::Token(token) }
    }

    fn by_certificate(shown: &Shown, state: &AdminState, admin: &Arc<Admin>) -> Option<Self> {
        let client = shown.opens(state, admin)?;
        Some(Self { role: client.role, by: By::Certificate(client, shown.clone()) })
    }
}
