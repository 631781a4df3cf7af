//! `$filter`: `eq` and `contains`, joined by `and`, `or` and parentheses. Anything else is not understood.

use std::borrow::Cow;

/// Deepest nesting of parentheses, so that no filter exhausts the stack.
const DEEPEST: usize = 32;

/// A condition over properties of type `P`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter<P> {
    Equals(P, String),
    Contains(P, String),
    All(Vec<Filter<P>>),
    Any(Vec<Filter<P>>),
}

impl<P: Copy> Filter<P> {
    /// Whether an entity, whose properties `value` reads, fulfils the condition. Text is compared without case:
    /// seen for `state`, where `Delivered` and `delivered` gave the same rows, assumed for the rest.
    pub(super) fn matches<'a>(&self, value: &impl Fn(P) -> Cow<'a, str>) -> bool {
        match self {
            Self::Equals(property, literal) => same(&value(*property), literal),
            Self::Contains(property, literal) => {
                value(*property).to_lowercase().contains(&literal.to_lowercase())
            }
            Self::All(of) => of.iter().all(|filter| filter.matches(value)),
            Self::Any(of) => of.iter().any(|filter| filter.matches(value)),
        }
    }
}

impl<P: PartialEq> Filter<P> {
    /// Whether every entity that it finds has one and the same value of this property.
    pub(super) fn pins(&self, property: &P) -> bool {
        match self {
            Self::Equals(of, _) => of == property,
            Self::All(of) => of.iter().any(|filter| filter.pins(property)),
            Self::Contains(..) | Self::Any(_) => false,
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || !other.is_ascii() && one.to_lowercase() == other.to_lowercase()
}

/// Reads a filter; `property` knows the names, which are compared without case. The error says what is wrong.
pub(super) fn parse<P>(text: &str, property: &impl Fn(&str) -> Option<P>) -> Result<Filter<P>, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader { rest: &tokens, property, depth: 0 };
    let filter = reader.any()?;
    match reader.rest.first() {
        None => Ok(filter),
        Some(token) => Err(unexpected(Some(token))),
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    /// A property path, an operator or a function.
    Word(String),
    /// A literal in single quotes, where a doubled quote stands for one.
    Text(String),
}

fn unexpected(token: Option<&Token>) -> String {
    match token {
        None => "The filter ends too early.".into(),
        Some(Token::Open) => "Syntax error in the filter at '('.".into(),
        Some(Token::Close) => "Syntax error in the filter at ')'.".into(),
        Some(Token::Comma) => "Syntax error in the filter at ','.".into(),
        Some(Token::Word(text) | Token::Text(text)) => format!("Syntax error in the filter at '{text}'."),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        tokens.push(match next {
            ' ' | '\t' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '\'' => {
                let mut literal = String::new();
                loop {
                    match rest.next() {
                        None => return Err("The filter has an unterminated string literal.".into()),
                        Some('\'') if rest.next_if_eq(&'\'').is_none() => break,
                        Some(letter) => literal.push(letter),
                    }
                }
                Token::Text(literal)
            }
            letter => {
                let mut word = String::from(letter);
                while let Some(letter) = rest.next_if(|letter| !" \t(),'".contains(*letter)) {
                    word.push(letter);
                }
                Token::Word(word)
            }
        });
    }
    Ok(tokens)
}

struct Reader<'a, F> {
    rest: &'a [Token],
    property: &'a F,
    depth: usize,
}

impl<P, F: Fn(&str) -> Option<P>> Reader<'_, F> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, wanted: &Token) -> bool {
        let found = self.rest.first() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), String> {
        if self.skip(wanted) { Ok(()) } else { Err(unexpected(self.rest.first())) }
    }

    fn any(&mut self) -> Result<Filter<P>, String> {
        let mut of = vec![self.all()?];
        while self.skip(&Token::Word("or".into())) {
            of.push(self.all()?);
        }
        Ok(one_or(of, Filter::Any))
    }

    fn all(&mut self) -> Result<Filter<P>, String> {
        let mut of = vec![self.condition()?];
        while self.skip(&Token::Word("and".into())) {
            of.push(self.condition()?);
        }
        Ok(one_or(of, Filter::All))
    }

    fn condition(&mut self) -> Result<Filter<P>, String> {
        if self.skip(&Token::Open) {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err("The filter is nested too deeply.".into());
            }
            let inner = self.any()?;
            self.expect(&Token::Close)?;
            self.depth -= 1;
            return Ok(inner);
        }
        if self.skip(&Token::Word("contains".into())) {
            self.expect(&Token::Open)?;
            let property = self.property()?;
            self.expect(&Token::Comma)?;
            let literal = self.literal()?;
            self.expect(&Token::Close)?;
            return Ok(Filter::Contains(property, literal));
        }
        let property = self.property()?;
        self.expect(&Token::Word("eq".into()))?;
        Ok(Filter::Equals(property, self.literal()?))
    }

    fn property(&mut self) -> Result<P, String> {
        match self.next() {
            Some(Token::Word(name)) => {
                let name = name.clone();
                (self.property)(&name)
                    .ok_or_else(|| format!("Could not find a property named '{name}' that can be filtered."))
            }
            other => Err(unexpected(other)),
        }
    }

    fn literal(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(text.clone()),
            other => Err(unexpected(other)),
        }
    }
}

/// The only member, or all of them joined.
fn one_or<P>(mut of: Vec<Filter<P>>, join: fn(Vec<Filter<P>>) -> Filter<P>) -> Filter<P> {
    match of.pop() {
        Some(only) if of.is_empty() => only,
        last => {
            of.extend(last);
            join(of)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Filter<char>, String> {
        parse(text, &|name| match name.to_ascii_lowercase().as_str() {
            "state" => Some('s'),
            "target/objectid" => Some('t'),
            "displayname" => Some('n'),
            _ => None,
        })
    }

    /// Whether an entity in this state, of target `x`, with this name, is found.
    fn finds(text: &str, state: &'static str, name: &'static str) -> bool {
        read(text).unwrap().matches(&|property| {
            match property {
                's' => state,
                't' => "x",
                _ => name,
            }
            .into()
        })
    }

    #[test]
    fn filters_find_what_they_say() {
        for (text, expected) in [
            ("state eq 'Delivered'", true),
            ("State eq 'expired'", false),
            ("target/objectid eq 'X' and state eq 'delivered'", true),
            ("target/objectId eq 'y' and state eq 'delivered'", false),
            ("(state eq 'PartiallyDelivered' or state eq 'Delivered')", true),
            ("state eq 'expired' or state eq 'delivered' and target/objectid eq 'y'", false),
            ("(state eq 'delivered' or state eq 'expired') and target/objectid eq 'x'", true),
            ("displayName eq 'Engineer''s Tools'", true),
            ("displayName eq 'ENGINEER''S TOOLS'", true),
            ("contains(displayName,'''s t')", true),
            ("contains( displayName , 'and' )", false),
            ("state eq 'delivered'and target/objectid eq 'x'", true),
        ] {
            assert_eq!(finds(text, "delivered", "Engineer's Tools"), expected, "{text}");
        }
        assert!(finds("displayName eq 'ÄRZTE'", "", "Ärzte"));
        assert!(finds("displayName eq ''", "", ""));
        assert!(finds("displayName eq 'a)(,b'", "", "a)(,b"));
    }

    #[test]
    fn only_a_condition_that_always_holds_pins_a_property() {
        for (text, expected) in [
            ("target/objectid eq 'x'", true),
            ("state eq 'delivered' and (target/objectid eq 'x' and state eq 'expired')", true),
            ("target/objectid eq 'x' or target/objectid eq 'y'", false),
            ("contains(target/objectid,'x')", false),
            ("state eq 'x'", false),
        ] {
            assert_eq!(read(text).unwrap().pins(&'t'), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let deep = format!("{}state eq 'a'{}", "(".repeat(33), ")".repeat(33));
        for text in [
            "",
            "state",
            "state eq",
            "state eq delivered",
            "state eq 'a",
            "state eq 'a''",
            "state ne 'a'",
            "state eq 'a' and",
            "state eq 'a' state eq 'b'",
            "(state eq 'a'",
            "state eq 'a')",
            "'a' eq state",
            "color eq 'a'",
            "not state eq 'a'",
            "startswith(displayName,'a')",
            "contains(displayName)",
            "state EQ 'a'",
            deep.as_str(),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
