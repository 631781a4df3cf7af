//! A refused token: whether another one is worth a try, and what to tell of it in the end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;

use super::Client;
use crate::echo::Echoes;
use crate::retry::Attempt;
use crate::text::sanitize;
use crate::token::{CredentialFailure, Lease, TokenSource};

/// For a source that has no way to ask for claims.
const NO_CLAIMS: &str = "Graph asks for a token with further claims (the sign-in was revoked, or a policy has changed), \
     which neither a fixed token nor a callable can ask for: pass an azure-core credential, or sign in again and pass \
     the new token.";
/// For a caller that cannot meet what is asked of it.
const STILL_CHALLENGED: &str = "Graph asks for further claims again, of a token that the credential gave for such a \
     challenge: sign in again, and if that does not help, let an administrator look at the caller's sign-in log and at \
     the Conditional Access policies that apply to it (Entra admin center).";
/// For a credential that keeps what it has: azure-identity gives a token out of its cache until that ends.
const SAME_TOKEN: &str = "The credential gave the very same token again, and may do so until that ends: make a new \
     credential, which signs in anew.";
/// A credential may believe that a token lives a little longer than the token says, and gives it out until then: its own
/// clock started when the answer of the sign-in came. So where a token is about to end, it is asked again, so often
const MOST_LOOKS: u32 = 4;
/// after such a time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How much of the claims is shown.
const SHOWN: usize = 200;
/// So many different challenges are answered for one request. More than one are rare (the parts of a batch, a policy
/// that changes meanwhile), and a service that thinks of new ones for ever must not hold the request for ever.
const MOST_CHALLENGES: usize = 3;

/// What has been tried for one request: an ordinary refusal and each challenge are good for one more attempt
/// (<https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation>).
#[derive(Debug, Default)]
pub(super) struct Renewals {
    renewed: bool,
    /// The claims that were asked for.
    answered: Vec<String>,
    has_no_claims: bool,
    /// Whether the other token was the same one.
    is_same: bool,
}

/// What is worth a try for some answers.
#[derive(Debug, PartialEq, Eq)]
enum Remedy<'a> {
    Claims(&'a str),
    AnotherToken,
}

impl Client {
    /// Another token in place of one that was refused, maybe with a challenge; `None` where there is nothing to try.
    pub(super) async fn replace(
        &self,
        refused: &Lease,
        results: &[Attempt],
        renewals: &mut Renewals,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Option<Lease>, CredentialFailure> {
        match renewals.remedy(results) {
            Some(Remedy::Claims(claims)) => {
                renewals.answered.push(claims.to_owned());
                let fresh = self.tokens.answer(refused, claims, source).await?;
                renewals.has_no_claims = fresh.is_none();
                Ok(fresh)
            }
            Some(Remedy::AnotherToken) if refused.renewable => {
                renewals.renewed = true;
                let mut fresh = self.tokens.renew(refused, source).await?;
                for _ in 0..MOST_LOOKS {
                    if !is_same(&fresh, refused) || !is_ending(&fresh) {
                        break;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                    fresh = self.tokens.renew(&fresh, source).await?;
                }
                renewals.is_same = is_same(&fresh, refused);
                Ok(Some(fresh))
            }
            _ => Ok(None),
        }
    }
}

fn is_same(one: &Lease, other: &Lease) -> bool {
    one.secret.expose_secret() == other.secret.expose_secret()
}

/// Whether a token says that it ends about now.
fn is_ending(lease: &Lease) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ends = lease.claims.as_ref().and_then(|claims| claims.expires_on());
    ends.is_some_and(|ends| ends <= i64::try_from(now).unwrap_or(i64::MAX).saturating_add(1))
}

/// Whether the answer refuses the token: a 401, or a 403 with a challenge, as Conditional Access gives it
/// (`insufficient_claims`, <https://learn.microsoft.com/graph/errors>).
pub(super) fn is_refused(result: &Attempt) -> bool {
    let status = match result {
        Attempt::Answered(answer) => answer.status,
        _ => return false,
    };
    status == 401 || (status == 403 && challenge_of(result).is_some())
}

/// The claims that an answer asks for.
fn challenge_of(result: &Attempt) -> Option<&str> {
    match result {
        Attempt::Answered(answer) => answer.token.as_ref()?.challenge.as_deref(),
        _ => None,
    }
}

impl Renewals {
    /// A challenge first: a token that meets it serves those that were refused without one too.
    fn remedy<'a>(&self, results: &'a [Attempt]) -> Option<Remedy<'a>> {
        let is_new = |claims: &&str| !self.answered.iter().any(|answered| answered == claims);
        let fresh = results.iter().filter_map(challenge_of).find(is_new);
        if let Some(claims) = fresh.filter(|_| self.answered.len() < MOST_CHALLENGES) {
            return Some(Remedy::Claims(claims));
        }
        let is_plain = |result: &Attempt| is_refused(result) && challenge_of(result).is_none();
        (!self.renewed && results.iter().any(is_plain)).then_some(Remedy::AnotherToken)
    }

    /// Say in each refusal what the token has to do with it.
    pub(super) fn advise(&self, results: &mut [Attempt], lease: &Lease) {
        let mut known: [Option<Arc<str>>; 3] = [const { None }; 3];
        for result in results {
            let Attempt::Answered(answer) = result else { continue };
            let challenge = answer.token.as_ref().and_then(|token| token.challenge.as_deref());
            let [unauthorized, challenged, forbidden] = &mut known;
            let (known, advice) = match (answer.status, challenge) {
                (401, _) => (unauthorized, self.advice(challenge, lease)),
                (403, Some(_)) => (challenged, self.advice(challenge, lease)),
                (403, None) => (forbidden, lease.claims.as_ref().and_then(|claims| claims.hint())),
                _ => continue,
            };
            // The refusals of a batch have it in common.
            *known = known.take().or_else(|| advice.map(Into::into));
            if known.is_some() {
                answer.token.get_or_insert_default().advice.clone_from(known);
            }
        }
    }

    fn advice(&self, challenge: Option<&str>, lease: &Lease) -> Option<String> {
        let challenged = challenge.map(|claims| {
            let said = if self.has_no_claims { NO_CLAIMS } else { STILL_CHALLENGED };
            // They came in base64, where no echo of the token could be seen.
            let mut echoes = Echoes::default();
            echoes.remember(lease.secret.expose_secret());
            let claims = echoes.blotted(claims).unwrap_or_else(|| claims.to_owned());
            format!("{said} The claims: {}.", sanitize(&claims, SHOWN))
        });
        let described = lease.claims.as_ref().map(|claims| claims.describe());
        let same = (challenge.is_none() && self.is_same).then(|| SAME_TOKEN.to_owned());
        let advice: Vec<_> = [challenged, same, described].into_iter().flatten().collect();
        (!advice.is_empty()).then(|| advice.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::{ItemAnswer, TokenTrouble};

    fn answered(status: u16, challenge: Option<&str>) -> Attempt {
        let token = challenge
            .map(|claims| Box::new(TokenTrouble { challenge: Some(claims.to_owned()), advice: None }));
        Attempt::Answered(ItemAnswer { status, token, ..ItemAnswer::default() })
    }

    #[test]
    fn a_refusal_and_each_challenge_are_good_for_one_more_attempt() {
        let (fine, plain) = (answered(202, None), answered(401, None));
        let (forbidden, step_up) = (answered(403, None), answered(403, Some("A")));
        let [a, b, c, d] = ["A", "B", "C", "D"].map(|claims| answered(401, Some(claims)));
        let another = || Some(Remedy::AnotherToken);
        for (results, renewed, answered, remedy) in [
            (vec![&fine], false, vec![], None),
            (vec![&fine, &plain], false, vec![], another()),
            (vec![&plain], true, vec![], None),
            (vec![&plain, &a], false, vec![], Some(Remedy::Claims("A"))),
            (vec![&a], true, vec![], Some(Remedy::Claims("A"))),
            (vec![&a], false, vec!["A"], None),
            (vec![&plain], false, vec!["A"], another()),
            (vec![&plain], true, vec!["A"], None),
            (vec![&a, &b], true, vec!["A"], Some(Remedy::Claims("B"))),
            (vec![&a, &plain], false, vec!["A"], another()),
            (vec![&c], false, vec!["A", "B"], Some(Remedy::Claims("C"))),
            (vec![&d], false, vec!["A", "B", "C"], None),
            (vec![&forbidden], false, vec![], None),
            (vec![&forbidden, &step_up], false, vec![], Some(Remedy::Claims("A"))),
            (vec![&step_up], false, vec!["A"], None),
        ] {
            let renewals = Renewals {
                renewed,
                answered: answered.iter().map(ToString::to_string).collect(),
                ..Renewals::default()
            };
            let results: Vec<Attempt> = results.into_iter().cloned().collect();
            assert_eq!(renewals.remedy(&results), remedy, "{results:?} {renewals:?}");
        }
    }
}
