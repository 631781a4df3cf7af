//! One token for all requests of a client: shared, refreshed in the background, replaced when it was refused.
//!
//! A token that still works is handed out while the next one is fetched, so no request waits for that, and a sign-in
//! that fails ends nothing as long as the token lives. Who waited for a sign-in shares its failure; later ones ask anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;

use super::claims::{self, Claims};
use super::flight::{Fetched, Flight, Flights};
use super::term::{Term, pause, term};
use super::{CredentialFailure, Token, TokenFuture, TokenSource};
use crate::echo::Echoes;
use crate::graph::cloud::Cloud;

/// A token in use; its number tells it from the one before.
#[derive(Clone)]
pub struct Lease {
    /// The bearer token.
    pub secret: Arc<SecretString>,
    /// Whether a refused token is worth asking anew.
    pub renewable: bool,
    /// What it says about itself, if it is a JSON Web Token.
    pub claims: Option<Arc<Claims>>,
    /// The claims that it was fetched for, where a challenge asked for some.
    asked_for: Option<Arc<str>>,
    number: u64,
}

struct Kept {
    lease: Lease,
    /// `None` for a token that never has to be asked anew.
    term: Option<Term<Instant>>,
    is_refreshing: bool,
    /// Of those who sought another token in place of a refused one, while this one is kept.
    failures: Vec<Failed>,
}

/// Requests that were under way with a refused token hear of it one after the other; one sign-in that fails is for all.
struct Failed {
    wanted: Wanted,
    failure: CredentialFailure,
}

/// What a request needs in place of a token that has ended or was refused.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    /// A token with a higher number than this one.
    newer_than: u64,
    /// Fetched for these claims, if any.
    claims: Option<Arc<str>>,
    /// Whether it is for a token that the service refused.
    is_refused: bool,
}

/// One token for all requests of a client.
#[derive(Clone)]
pub struct TokenCache(Arc<Shared>);

struct Shared {
    scope: String,
    /// The cloud whose Graph is called; `None` for a host that may take tokens of any audience.
    cloud: Option<Cloud>,
    /// Never held across a wait.
    kept: Mutex<Option<Kept>>,
    /// Tells of each new token.
    news: watch::Sender<()>,
    /// Ends the refreshes, for which nobody waits.
    closed: watch::Sender<bool>,
    flights: Flights,
}

/// What the kept token is good for.
enum Look {
    Good(Lease),
    /// Good, and it is on the caller to have it refreshed.
    Due(Lease),
    /// None, or one that has ended; with the number of the last one.
    Gone(u64),
}

impl TokenCache {
    /// An empty cache for one scope.
    pub fn new(scope: String, cloud: Option<Cloud>) -> Self {
        Self(Arc::new(Shared {
            scope,
            cloud,
            kept: Mutex::new(None),
            news: watch::Sender::new(()),
            closed: watch::Sender::new(false),
            flights: Flights::default(),
        }))
    }

    /// The kept token, or a fresh one. Of many who ask at once, one fetches and the others wait for it; who can still
    /// use the old one does not wait.
    pub async fn get(&self, source: &Arc<dyn TokenSource>) -> Result<Lease, CredentialFailure> {
        match self.0.look() {
            Look::Good(lease) => Ok(lease),
            Look::Due(lease) => {
                tokio::spawn(refresh(self.0.clone(), source.clone(), lease.number));
                Ok(lease)
            }
            Look::Gone(number) => {
                let wanted = Wanted { newer_than: number, claims: None, is_refused: false };
                self.0.next(wanted, source).await
            }
        }
    }

    /// Another token in place of one that the service refused.
    pub async fn renew(
        &self,
        refused: &Lease,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Lease, CredentialFailure> {
        self.0.put_away(refused);
        let wanted = Wanted { newer_than: refused.number, claims: None, is_refused: true };
        self.0.next(wanted, source).await
    }

    /// A token with these claims in place of one that the service challenged; `None` if the source cannot ask for any.
    ///
    /// Requests under way at the same time are mostly challenged for the same event, so one answer is for all of them.
    pub async fn answer(
        &self,
        challenged: &Lease,
        claims: &str,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Option<Lease>, CredentialFailure> {
        self.0.put_away(challenged);
        if !source.takes_claims() {
            return Ok(None);
        }
        let wanted = Wanted { newer_than: challenged.number, claims: Some(claims.into()), is_refused: true };
        self.0.next(wanted, source).await.map(Some)
    }

    /// End what is under way in the background.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// The tenant of the token in use, if there is one and it says so.
    pub fn tenant(&self) -> Option<String> {
        self.0.kept().as_ref()?.lease.claims.as_ref()?.tenant.clone()
    }
}

impl Shared {
    /// Comes back when the cache is closed. What `wait_for` gives locks the value, and must not live on while a fetch is
    /// dropped: that may wait for an interpreter whose holder is about to close this.
    async fn closed(&self) {
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Look {
        let mut kept = self.kept();
        let Some(kept) = &mut *kept else { return Look::Gone(0) };
        let now = Instant::now();
        match kept.term {
            Some(term) if now >= term.end => Look::Gone(kept.lease.number),
            Some(term) if now >= term.refresh && !kept.is_refreshing => {
                kept.is_refreshing = true;
                Look::Due(kept.lease.clone())
            }
            _ => Look::Good(kept.lease.clone()),
        }
    }

    /// What is known already: a token that will do, or that there is none.
    fn known(&self, wanted: &Wanted) -> Option<Fetched> {
        let kept = self.kept();
        let kept = kept.as_ref()?;
        // A token fetched while we waited is ours too, however short it lives.
        if kept.lease.number > wanted.newer_than
            && (wanted.claims.is_none() || wanted.claims == kept.lease.asked_for)
        {
            return Some(Ok(kept.lease.clone()));
        }
        let failed = kept.failures.iter().find(|failed| failed.wanted == *wanted)?;
        Some(Err(failed.failure.clone()))
    }

    /// A token that will do, fetched by whoever comes first.
    async fn next(self: &Arc<Self>, wanted: Wanted, source: &Arc<dyn TokenSource>) -> Fetched {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            // Taken before the look at what is known: a fetch that ends in between is seen there, and a new one has not
            // begun before somebody waits for it.
            let flight = self.flights.join(source.place(), || self.start(wanted.clone(), source.clone()));
            if let Some(known) = self.known(&wanted) {
                return known;
            }
            tokio::select! {
                biased;
                _ = news.changed() => {}
                fetched = flight.ended() => {
                    // One for other claims says nothing of ours, nor does one that was about to end as we came: it
                    // brought the very token that is to be replaced.
                    let is_old = fetched.as_ref().is_ok_and(|lease| lease.number <= wanted.newer_than);
                    if flight.claims == wanted.claims && !is_old {
                        return fetched;
                    }
                }
            }
        }
    }

    fn start(self: &Arc<Self>, wanted: Wanted, source: Arc<dyn TokenSource>) -> Flight {
        let shared = self.clone();
        Flight::new(wanted.claims.clone(), async move {
            let fetched = match &wanted.claims {
                Some(claims) => source.fetch_with_claims(&shared.scope, claims),
                None => source.fetch(&shared.scope),
            };
            let token = in_time(fetched, source.patience()).await;
            let fetched = token.and_then(|token| shared.keep(token, wanted.claims.clone()));
            let fetched = fetched.map_err(|failure| shared.without_token(failure));
            if let Err(failure) = &fetched
                && wanted.is_refused
            {
                shared.remember(wanted, failure.clone());
            }
            fetched
        })
    }

    /// A source may name the token that it would have replaced.
    fn without_token(&self, failure: CredentialFailure) -> CredentialFailure {
        let mut echoes = Echoes::default();
        if let Some(kept) = &*self.kept() {
            echoes.remember(kept.lease.secret.expose_secret());
        }
        match echoes.blotted(&failure.message) {
            Some(message) => CredentialFailure { message, ..failure },
            None => failure,
        }
    }

    fn remember(&self, wanted: Wanted, failure: CredentialFailure) {
        if let Some(kept) = &mut *self.kept() {
            kept.failures.push(Failed { wanted, failure });
        }
    }

    /// Whoever asks from now on waits for the next token.
    fn put_away(&self, refused: &Lease) {
        if let Some(kept) = self.kept().as_mut().filter(|kept| kept.lease.number == refused.number)
            && let Some(term) = &mut kept.term
        {
            term.end = Instant::now();
        }
    }

    fn keep(&self, token: Token, asked_for: Option<Arc<str>>) -> Result<Lease, CredentialFailure> {
        // The wall clock is read once, here; from then on the monotonic clock counts, so a jump changes nothing.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = Claims::read(token.secret.expose_secret());
        // Makers of simple credentials write 0 where they do not know.
        let expires_on = token.expires_on.filter(|at| *at > 0);
        // What the source says of the end goes by this machine's clock, what the token says by another one.
        let end = expires_on.or_else(|| claims.as_ref().and_then(Claims::expires_on));
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let objection = claims.as_ref().and_then(|claims| claims.objection(self.cloud));
        if let Some(message) = objection.or_else(|| claims::expired(end, seconds)) {
            return Err(CredentialFailure { message, cause: None });
        }
        let at = Instant::now();
        let term = token.renewable.then(|| {
            let Term { refresh, end } = term(expires_on, token.refresh_on, now);
            Term { refresh: at + refresh, end: at + end }
        });
        let mut kept = self.kept();
        let lease = Lease {
            secret: Arc::new(token.secret),
            renewable: token.renewable,
            claims: claims.map(Arc::new),
            asked_for,
            number: kept.as_ref().map_or(0, |kept| kept.lease.number) + 1,
        };
        *kept = Some(Kept { lease: lease.clone(), term, is_refreshing: false, failures: Vec::new() });
        drop(kept);
        self.news.send_replace(());
        Ok(lease)
    }

    /// A refresh failed: the token is still good, so there is nothing to tell, and another one is tried in a while.
    fn failed_to_refresh(&self, number: u64) {
        if let Some(kept) = self.kept().as_mut().filter(|kept| kept.lease.number == number) {
            kept.is_refreshing = false;
            let now = Instant::now();
            if let Some(term) = &mut kept.term {
                term.refresh = now + pause(term.end.saturating_duration_since(now));
            }
        }
    }
}

/// In the background: another token in place of the one with this number.
async fn refresh(shared: Arc<Shared>, source: Arc<dyn TokenSource>, number: u64) {
    let wanted = Wanted { newer_than: number, claims: None, is_refused: false };
    tokio::select! {
        fetched = shared.next(wanted, &source) => if fetched.is_err() {
            shared.failed_to_refresh(number);
        },
        () = shared.closed() => {}
    }
}

async fn in_time(fetched: TokenFuture<'_>, patience: Duration) -> Result<Token, CredentialFailure> {
    tokio::time::timeout(patience, fetched).await.unwrap_or_else(|_| {
        Err(CredentialFailure {
            message: format!(
                "the credential gave no token within {} s; if it waits for somebody to sign in, let it get a token \
                 before the call",
                patience.as_secs_f64()
            ),
            cause: None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::PATIENCE;
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    /// Counts, takes a while, and gives tokens of a set life.
    struct Source {
        asked: AtomicU64,
        life: Option<i64>,
        renewable: bool,
        takes: Duration,
        is_broken: AtomicBool,
        under_way: AtomicU64,
        takes_claims: bool,
        claims: Mutex<Vec<String>>,
        place: usize,
    }

    impl Source {
        fn new(life: Option<i64>) -> Self {
            Self {
                asked: AtomicU64::new(0),
                life,
                renewable: true,
                takes: Duration::from_millis(50),
                is_broken: AtomicBool::new(false),
                under_way: AtomicU64::new(0),
                takes_claims: true,
                claims: Mutex::default(),
                place: 0,
            }
        }

        fn asked(&self) -> u64 {
            self.asked.load(SeqCst)
        }
    }

    /// Counts what has begun and not ended, also by being dropped.
    struct UnderWay<'a>(&'a AtomicU64);

    impl<'a> UnderWay<'a> {
        fn new(count: &'a AtomicU64) -> Self {
            assert_eq!(count.fetch_add(1, SeqCst), 0, "never asked for two tokens at a time");
            Self(count)
        }
    }

    impl Drop for UnderWay<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }

    impl TokenSource for Source {
        fn fetch<'a>(&'a self, scope: &'a str) -> TokenFuture<'a> {
            Box::pin(async move {
                assert_eq!(scope, "scope");
                let number = self.asked.fetch_add(1, SeqCst);
                let _under_way = UnderWay::new(&self.under_way);
                tokio::time::sleep(self.takes).await;
                if self.is_broken.load(SeqCst) {
                    return Err(CredentialFailure { message: "the login host is away".into(), cause: None });
                }
                Ok(Token {
                    secret: format!("token-{number}").into(),
                    expires_on: self.life.map(|life| unix() + life),
                    refresh_on: None,
                    renewable: self.renewable,
                })
            })
        }

        fn takes_claims(&self) -> bool {
            self.takes_claims
        }

        fn place(&self) -> usize {
            self.place
        }

        fn fetch_with_claims<'a>(&'a self, scope: &'a str, claims: &'a str) -> TokenFuture<'a> {
            self.claims.lock().unwrap().push(claims.to_owned());
            self.fetch(scope)
        }
    }

    fn unix() -> i64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
    }

    fn cache() -> TokenCache {
        TokenCache::new("scope".into(), None)
    }

    /// The source twice: as what it is, and as the cache takes it.
    fn shared(source: Source) -> (Arc<Source>, Arc<dyn TokenSource>) {
        let source = Arc::new(source);
        (source.clone(), source)
    }

    async fn hundred(cache: &TokenCache, source: &Arc<dyn TokenSource>) -> Vec<u64> {
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (cache, source) = (cache.clone(), source.clone());
                tokio::spawn(async move { cache.get(&source).await.unwrap().number })
            })
            .collect();
        let mut numbers = Vec::new();
        for call in calls {
            numbers.push(call.await.unwrap());
        }
        numbers
    }

    async fn pass(seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_callers_share_one_fetch() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        assert_eq!(hundred(&cache, &asked).await, [1; 100]);
        assert_eq!(source.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn even_a_token_that_is_stale_at_once_is_shared_by_those_who_waited() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(0))));
        assert_eq!(hundred(&cache, &asked).await, [1; 100]);
        assert_eq!(source.asked(), 1);
        cache.get(&asked).await.unwrap();
        assert_eq!(source.asked(), 2, "the next caller asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_is_about_to_end_brings_nothing_in_place_of_its_own_token() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let stale = cache.get(&asked).await.unwrap();
        // It has brought that token, and its end is not noted yet.
        let brought = stale.clone();
        let ending = cache.0.flights.join(0, || Flight::new(None, async move { Ok(brought) }));
        let fresh = cache.renew(&stale, &asked).await.unwrap();
        assert_eq!((stale.number, fresh.number, source.asked()), (1, 2, 2));
        drop(ending);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_by_those_who_waited_for_it() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { is_broken: AtomicBool::new(true), ..Source::new(Some(3_600)) }));
        let started = Instant::now();
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (cache, asked) = (cache.clone(), asked.clone());
                tokio::spawn(async move { cache.get(&asked).await.err().unwrap().message })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), "the login host is away");
        }
        assert_eq!((source.asked(), started.elapsed()), (1, source.takes));
        assert!(cache.get(&asked).await.is_err());
        assert_eq!(source.asked(), 2, "a later call asks anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_for_all_requests_that_were_under_way_with_the_refused_token() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let refused = cache.get(&asked).await.unwrap();
        source.is_broken.store(true, SeqCst);
        // One hears of it after the other, as answers come in.
        for _ in 0..3 {
            assert!(cache.renew(&refused, &asked).await.is_err());
            assert!(cache.answer(&refused, "{}", &asked).await.is_err());
        }
        assert_eq!(source.asked(), 3, "the first token, another one, one with claims");
        assert!(cache.get(&asked).await.is_err());
        assert_eq!(source.asked(), 4, "whoever asks later asks anew");
        source.is_broken.store(false, SeqCst);
        assert_eq!(cache.get(&asked).await.unwrap().number, 2);
        assert_eq!(cache.renew(&refused, &asked).await.unwrap().number, 2);
        assert_eq!(source.asked(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_lives_as_long_as_somebody_waits_for_it() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let call = || {
            let (cache, asked) = (cache.clone(), asked.clone());
            tokio::spawn(async move { cache.get(&asked).await.unwrap().number })
        };
        let (first, second) = (call(), call());
        pass(0.01).await;
        first.abort();
        assert_eq!((second.await.unwrap(), source.asked()), (1, 1), "the first to ask may leave");
        pass(3_700.0).await;
        let only = call();
        pass(0.01).await;
        assert_eq!(source.under_way.load(SeqCst), 1);
        only.abort();
        assert!(only.await.unwrap_err().is_cancelled());
        assert_eq!((source.under_way.load(SeqCst), source.asked()), (0, 2), "nobody waits for it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_refresh_while_the_old_token_works() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { takes: Duration::from_secs(30), ..Source::new(Some(3_600)) }));
        cache.get(&asked).await.unwrap();
        pass(3_310.0).await;
        let started = Instant::now();
        assert_eq!(hundred(&cache, &asked).await, [1; 100]);
        assert_eq!(started.elapsed(), Duration::ZERO);
        pass(29.0).await;
        assert_eq!(
            (cache.get(&asked).await.unwrap().number, source.asked()),
            (1, 2),
            "one refresh, under way"
        );
        pass(2.0).await;
        assert_eq!((cache.get(&asked).await.unwrap().number, source.asked()), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_at_a_place_that_stands_still_holds_nobody_up_elsewhere() {
        let cache = cache();
        // The first loop gives one token at once and then stands still.
        let (first, asked_first) = shared(Source::new(Some(600)));
        let (still, asked_still) =
            shared(Source { takes: Duration::from_secs(3_600), ..Source::new(Some(600)) });
        let (second, asked_second) = shared(Source { place: 1, ..Source::new(Some(600)) });
        cache.get(&asked_first).await.unwrap();
        pass(590.0).await;
        assert_eq!(cache.get(&asked_still).await.unwrap().number, 1, "still good, and due");
        pass(12.0).await;
        assert_eq!(still.under_way.load(SeqCst), 1);
        let started = Instant::now();
        let waits_there = tokio::spawn({
            let (cache, asked) = (cache.clone(), asked_first.clone());
            async move { cache.get(&asked).await.unwrap().number }
        });
        pass(0.0).await;
        assert_eq!(cache.get(&asked_second).await.unwrap().number, 2);
        assert_eq!(waits_there.await.unwrap(), 2, "whichever token comes first is for all");
        assert_eq!(started.elapsed(), second.takes);
        pass(0.1).await;
        assert_eq!((first.asked(), still.asked(), second.asked()), (1, 1, 1));
        assert_eq!(still.under_way.load(SeqCst), 0, "nobody waits for the refresh any more");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_a_refresh() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { takes: Duration::from_secs(10), ..Source::new(Some(3_600)) }));
        cache.get(&asked).await.unwrap();
        pass(3_400.0).await;
        cache.get(&asked).await.unwrap();
        pass(1.0).await;
        assert_eq!(source.under_way.load(SeqCst), 1);
        cache.close();
        pass(0.1).await;
        assert_eq!((source.under_way.load(SeqCst), source.asked()), (0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_fails_is_tried_again_and_matters_only_at_the_end() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        cache.get(&asked).await.unwrap();
        source.is_broken.store(true, SeqCst);
        let mut asked_by_then = 0;
        for _ in 0..3_590 {
            pass(1.0).await;
            assert_eq!(cache.get(&asked).await.unwrap().number, 1);
            asked_by_then = source.asked();
        }
        assert!((9..=40).contains(&asked_by_then), "every 30 s, more often at the end: {asked_by_then}");
        pass(20.0).await;
        assert!(cache.get(&asked).await.is_err(), "now there is none");
        source.is_broken.store(false, SeqCst);
        assert_eq!(cache.get(&asked).await.unwrap().number, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_during_a_slow_refresh_is_waited_for() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { takes: Duration::from_secs(4), ..Source::new(Some(8)) }));
        cache.get(&asked).await.unwrap();
        pass(7.0).await;
        assert_eq!(cache.get(&asked).await.unwrap().number, 1);
        pass(1.5).await;
        assert_eq!(hundred(&cache, &asked).await, [2; 100]);
        assert_eq!(source.asked(), 2, "the refresh under way was enough");
    }

    #[tokio::test(start_paused = true)]
    async fn short_lives_carry_on_with_no_more_fetches_than_needed() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(5))));
        for _ in 0..600 {
            cache.get(&asked).await.unwrap();
            pass(0.1).await;
        }
        // Whole seconds leave 4 to 5 s of it, three quarters of which are used.
        assert!((12..=21).contains(&source.asked()), "{}", source.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_renewed_once_for_all() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let refused = cache.get(&asked).await.unwrap();
        let (first, second, third) =
            tokio::join!(cache.renew(&refused, &asked), cache.renew(&refused, &asked), cache.get(&asked));
        let numbers = [first, second, third].map(|lease| lease.unwrap().number);
        assert_eq!((numbers, source.asked()), ([2; 3], 2), "a refused token is given to nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn a_challenge_is_answered_once_for_all() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let challenged = cache.get(&asked).await.unwrap();
        let (first, second) =
            tokio::join!(cache.answer(&challenged, "{}", &asked), cache.answer(&challenged, "{}", &asked));
        assert_eq!([first, second].map(|lease| lease.unwrap().unwrap().number), [2; 2]);
        assert_eq!(
            (source.asked(), source.claims.lock().unwrap().as_slice()),
            (2, ["{}".to_owned()].as_slice())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_challenge_reaches_the_source_once() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let challenged = cache.get(&asked).await.unwrap();
        let answer = async |claims| cache.answer(&challenged, claims, &asked).await.unwrap().unwrap();
        let (a, b, a_too) = tokio::join!(answer("A"), answer("B"), answer("A"));
        let asked_for = [a, b, a_too].map(|lease| lease.asked_for.unwrap());
        assert_eq!(asked_for.each_ref().map(|claims| &**claims), ["A", "B", "A"]);
        assert_eq!(*source.claims.lock().unwrap(), ["A", "B"]);
        assert_eq!(answer("B").await.number, 3, "which is still kept");
        assert_eq!(source.asked(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_challenge_that_cannot_be_met_says_nothing_of_an_ordinary_token() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let challenged = cache.get(&asked).await.unwrap();
        source.is_broken.store(true, SeqCst);
        let waits = async {
            pass(0.01).await;
            cache.get(&asked).await
        };
        let repaired = async {
            pass(0.06).await;
            source.is_broken.store(false, SeqCst);
        };
        let (answered, got, ()) = tokio::join!(cache.answer(&challenged, "{}", &asked), waits, repaired);
        assert!(answered.is_err());
        assert_eq!((got.unwrap().number, source.asked()), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_came_between_is_no_answer_to_a_challenge() {
        let (cache, (source, asked)) = (cache(), shared(Source::new(Some(3_600))));
        let challenged = cache.get(&asked).await.unwrap();
        cache.renew(&challenged, &asked).await.unwrap();
        assert_eq!(cache.answer(&challenged, "{}", &asked).await.unwrap().unwrap().number, 3);
        assert_eq!(source.claims.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_may_have_no_way_to_ask_for_claims() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { takes_claims: false, ..Source::new(Some(3_600)) }));
        let challenged = cache.get(&asked).await.unwrap();
        assert!(cache.answer(&challenged, "{}", &asked).await.unwrap().is_none());
        assert_eq!(source.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_given_up() {
        let (cache, (source, asked)) =
            (cache(), shared(Source { takes: Duration::from_secs(3_600), ..Source::new(None) }));
        let started = Instant::now();
        let failure = cache.get(&asked).await.err().unwrap();
        assert_eq!((started.elapsed(), source.asked()), (PATIENCE, 1));
        assert!(failure.message.contains("within 60 s"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_token_is_kept_and_one_of_unknown_life_is_asked_anew() {
        let (cache, (fixed, asked)) = (cache(), shared(Source { renewable: false, ..Source::new(None) }));
        let (other, (provider, asked_too)) = (self::cache(), shared(Source::new(None)));
        for _ in 0..3 {
            cache.get(&asked).await.unwrap();
            other.get(&asked_too).await.unwrap();
            pass(61.0).await;
        }
        assert_eq!((fixed.asked(), provider.asked()), (1, 3));
    }

    /// Gives one token, whatever it is asked.
    struct Given(String, Option<i64>);

    impl TokenSource for Given {
        fn fetch<'a>(&'a self, _: &'a str) -> TokenFuture<'a> {
            let (secret, expires_on) = (self.0.clone().into(), self.1);
            Box::pin(async move { Ok(Token { secret, expires_on, refresh_on: None, renewable: true }) })
        }
    }

    fn jwt(claims: &str) -> String {
        use base64::Engine;
        format!("e30.{}.canary", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
    }

    #[tokio::test]
    async fn what_graph_would_surely_refuse_is_not_given_out() {
        let hour_ago = unix() - 3_600;
        let old = jwt(&format!("{{\"exp\":{hour_ago}}}"));
        for (token, expires_on, cloud, wrong) in [
            ("opaque".to_owned(), None, Some(Cloud::Global), None),
            (jwt("{\"aud\":\"https://graph.microsoft.com/\"}"), None, Some(Cloud::Global), None),
            (jwt("{\"aud\":\"https://graph.microsoft.us\"}"), None, Some(Cloud::Global), Some("usgov")),
            (jwt("{\"aud\":\"https://graph.microsoft.us\"}"), None, None, None),
            (old.clone(), None, None, Some("expired")),
            ("opaque".to_owned(), Some(hour_ago), None, Some("expired")),
            ("opaque".to_owned(), Some(0), None, None),
            // The source goes by the clock of this machine, which may be wrong.
            (old, Some(unix() + 3_600), None, None),
        ] {
            let cache = TokenCache::new("scope".into(), cloud);
            let source: Arc<dyn TokenSource> = Arc::new(Given(token.clone(), expires_on));
            match (cache.get(&source).await, wrong) {
                (Ok(lease), None) => assert_eq!(lease.secret.expose_secret(), token),
                (Err(failure), Some(wrong)) => {
                    assert!(
                        failure.message.contains(wrong) && !failure.message.contains("canary"),
                        "{failure}"
                    );
                }
                (got, wrong) => panic!("{token}: {wrong:?}, {:?}", got.err()),
            }
        }
    }

    #[tokio::test]
    async fn the_tenant_is_that_of_the_token_in_use() {
        let cache = cache();
        assert_eq!(cache.tenant(), None);
        let source: Arc<dyn TokenSource> = Arc::new(Given(jwt("{\"tid\":\"t\"}"), None));
        cache.get(&source).await.unwrap();
        assert_eq!(cache.tenant().as_deref(), Some("t"));
    }
}
