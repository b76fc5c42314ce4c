//! Label selectors in their text form (E17). Keys and values are not checked for their spelling here.

use serde_json::Value;

use super::InvalidSelector;

/// All of its requirements must hold; none is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// In the order they were written.
    pub requirements: Vec<Requirement>,
}

/// One demand on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is demanded of it.
    pub operator: Operator,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key`
    Exists,
    /// `!key`
    Absent,
    /// `key=a`, `key in (a,b)`
    In(Vec<String>),
    /// `key!=a`, `key notin (a,b)`: also true of objects without the label.
    NotIn(Vec<String>),
    /// `key>1`: a whole number greater than this.
    Greater(i64),
    /// `key<1`
    Less(i64),
}

impl LabelSelector {
    /// Reads the text form.
    ///
    /// # Errors
    /// With upstream's words for what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek() == Token::End {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                Token::End => return Ok(Self { requirements }),
                Token::Comma if tokens.peek() != Token::End => {}
                Token::Comma => return Err(found(Token::End, "identifier after ','")),
                other => return Err(found(other, "',' or 'end of string'")),
            }
        }
    }

    /// Reads the form objects carry: `matchLabels` and `matchExpressions`. An absent selector selects everything;
    /// callers for whom it means nothing ask before.
    ///
    /// # Errors
    /// If an expression has no operator anybody knows.
    pub fn from_json(selector: &Value) -> Result<Self, InvalidSelector> {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), operator: Operator::In(vec![value]) });
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            let operator = match text("operator") {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::Absent,
                other => {
                    return Err(InvalidSelector(format!("{other:?} is not a valid label selector operator")));
                }
            };
            requirements.push(Requirement { key: text("key").to_owned(), operator });
        }
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with the labels `label` looks up is selected.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|wanted| wanted.operator.holds(label(&wanted.key)))
    }
}

impl Operator {
    fn holds(&self, label: Option<&str>) -> bool {
        let number = || label.and_then(|label| label.parse::<i64>().ok());
        match self {
            Self::Exists => label.is_some(),
            Self::Absent => label.is_none(),
            Self::In(values) => label.is_some_and(|label| values.iter().any(|value| value == label)),
            Self::NotIn(values) => label.is_none_or(|label| values.iter().all(|value| value != label)),
            Self::Greater(than) => number().is_some_and(|label| label > *than),
            Self::Less(than) => number().is_some_and(|label| label < *than),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    Comma,
    Open,
    Close,
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Word(word) => word,
            Self::Not => "!",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::End => "",
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        const FIXED: [(&str, Token<'static>); 9] = [
            ("!=", Token::NotEqual),
            ("!", Token::Not),
            ("==", Token::Equal),
            ("=", Token::Equal),
            (">", Token::Greater),
            ("<", Token::Less),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Token::End;
        }
        if let Some((text, token)) = FIXED.iter().find(|(text, _)| self.rest.starts_with(text)) {
            self.rest = &self.rest[text.len()..];
            return *token;
        }
        let special = |c: char| c.is_whitespace() || "!=<>,()".contains(c);
        let end = self.rest.find(special).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Token::Word(word)
    }

    /// A value may be left out: the empty text.
    fn value(&mut self) -> Result<String, InvalidSelector> {
        match self.peek() {
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            Token::Comma | Token::End | Token::Close => Ok(String::new()),
            other => Err(found(other, "identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, InvalidSelector> {
        match self.next() {
            Token::Open => {}
            other => return Err(found(other, "'('")),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return Err(found(other, "',' or ')'")),
            }
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, InvalidSelector> {
        let text = self.value()?;
        text.parse().map_err(|_| {
            let detail = format!("values[0][{key}]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer");
            InvalidSelector(detail)
        })
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, InvalidSelector> {
    let negated = tokens.peek() == Token::Not;
    if negated {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(word) => word.to_owned(),
        other => return Err(found(other, "identifier")),
    };
    if negated {
        return Ok(Requirement { key, operator: Operator::Absent });
    }
    if matches!(tokens.peek(), Token::Comma | Token::End) {
        return Ok(Requirement { key, operator: Operator::Exists });
    }
    let operator = match tokens.next() {
        Token::Equal => Operator::In(vec![tokens.value()?]),
        Token::NotEqual => Operator::NotIn(vec![tokens.value()?]),
        Token::Greater => Operator::Greater(tokens.number(&key)?),
        Token::Less => Operator::Less(tokens.number(&key)?),
        Token::Word("in") => Operator::In(tokens.values()?),
        Token::Word("notin") => Operator::NotIn(tokens.values()?),
        other => return Err(found(other, "in, notin, =, ==, !=, gt, lt")),
    };
    Ok(Requirement { key, operator })
}

fn found(token: Token<'_>, expected: &str) -> InvalidSelector {
    let text = token.text();
    InvalidSelector(format!("unable to parse requirement: found '{text}', expected: {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector = LabelSelector::parse(selector).unwrap();
        selector.matches(|key| labels.iter().find(|(label, _)| *label == key).map(|(_, value)| *value))
    }

    /// E17.
    #[test]
    fn every_operator() {
        let web = [("app", "web"), ("tier", ""), ("size", "10")];
        for yes in [
            "",
            "app",
            "!other",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "other!=x",
            "app in (db, web)",
            "app notin (db)",
            "other notin (x)",
            "tier=",
            "tier in (,x)",
            "size>9",
            "size<11",
            "app=web,tier,!x",
        ] {
            assert!(selects(yes, &web), "{yes}");
        }
        for no in [
            "other",
            "!app",
            "app=db",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "size>10",
            "app>1",
            "app,x",
        ] {
            assert!(!selects(no, &web), "{no}");
        }
    }

    /// E17: refusals in upstream's words.
    #[test]
    fn refusals() {
        for (text, words) in [
            ("=web", "unable to parse requirement: found '=', expected: identifier"),
            ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
            ("app in web", "unable to parse requirement: found 'web', expected: '('"),
            ("app=web,", "unable to parse requirement: found '', expected: identifier after ','"),
            ("app in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("app=a b", "unable to parse requirement: found 'b', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), words, "{text}");
        }
        LabelSelector::parse("size>x").unwrap_err();
    }
}
