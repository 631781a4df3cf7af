//! The tokens that were sent of late, and what comes back without them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use super::{Answer, TransportFailure};
use crate::echo::Echoes;
use crate::text::{one_line, sanitize_id};

/// The tokens that were sent of late.
#[derive(Default)]
pub(super) struct Sent(Mutex<Arc<Echoes>>);

impl Sent {
    /// This one is about to be sent.
    pub fn remember(&self, token: &SecretString) {
        let mut echoes = self.echoes();
        if !echoes.is_last(token.expose_secret()) {
            Arc::make_mut(&mut echoes).remember(token.expose_secret());
        }
    }

    /// Blot them out of all that is kept or logged of an exchange, and only then cut it to a length: half a token could
    /// not be told any more.
    pub fn blot_out(&self, result: &mut Result<Answer, TransportFailure>) {
        let echoes = self.echoes().clone();
        let clean = |text: &mut String| {
            if let Some(blotted) = echoes.blotted(text) {
                *text = blotted;
            }
        };
        match result {
            Ok(answer) => {
                let Answer { request_id, date, retry_after, challenge, .. } = answer;
                [request_id, date, retry_after, challenge].into_iter().flatten().for_each(clean);
                for text in [&mut answer.request_id, &mut answer.date].into_iter().flatten() {
                    *text = sanitize_id(text);
                }
                if let Some(blotted) = echoes.blotted_body(&answer.body) {
                    answer.body = blotted;
                }
            }
            Err(failure) => {
                clean(&mut failure.message);
                // It may repeat what a host, a proxy or a certificate says.
                failure.message = one_line(&failure.message);
            }
        }
    }

    fn echoes(&self) -> MutexGuard<'_, Arc<Echoes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOi";
    const NEW: &str = "0b1d7c1c4a2c073bd82eb508ac";

    fn sent() -> Sent {
        let sent = Sent::default();
        for token in [OLD, NEW, NEW] {
            sent.remember(&token.into());
        }
        sent
    }

    #[test]
    fn no_text_of_an_answer_keeps_a_token() {
        let text = Some(format!("{OLD} {NEW}"));
        let mut result = Ok(Answer {
            request_id: text.clone(),
            date: text.clone(),
            retry_after: text.clone(),
            challenge: text.clone(),
            body: format!("{{\"a\": \"\\u0065{}\"}}", &OLD[1..]).into_bytes(),
            ..Answer::default()
        });
        sent().blot_out(&mut result);
        let answer = result.unwrap();
        for text in [answer.request_id, answer.date, answer.retry_after, answer.challenge] {
            assert_eq!(text.as_deref(), Some("[token] [token]"));
        }
        assert_eq!(answer.body, b"{\"a\":\"[token]\"}");
    }

    #[test]
    fn no_text_of_a_failure_keeps_a_token() {
        let mut result = Err(TransportFailure::protocol(format!("odd: {}", &NEW[2..20])));
        sent().blot_out(&mut result);
        assert_eq!(result.unwrap_err().message, "odd: [token]");
    }

    #[test]
    fn what_is_kept_of_a_header_is_cut_after_that() {
        let mut result = Ok(Answer {
            request_id: Some(format!("{}{OLD}", "x".repeat(190))),
            date: Some("D".repeat(300_000)),
            ..Answer::default()
        });
        sent().blot_out(&mut result);
        let answer = result.unwrap();
        assert_eq!(answer.request_id.unwrap(), format!("{}[token]", "x".repeat(190)));
        assert_eq!(answer.date.unwrap().chars().count(), 201);
    }
}
