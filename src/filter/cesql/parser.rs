//! Parser: tokens to expressions, by the binding powers of cesql §3.6.

use super::ast::{BinaryOperator, ExpressionNode};
use super::function::CesqlFunction;
use super::lexer::{CesqlToken, PlacedToken, tokenize};
use super::like::LikePattern;
use super::parse_error::ParseError;
use super::{MAX_DEPTH, MAX_LENGTH};

/// Words that cannot be attribute names.
const KEYWORDS: [&str; 9] = [
    "AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE",
];

/// Binding powers, the strongest last; operators of equal power are evaluated from left to right.
const LOGIC: u8 = 1;
const COMPARISON: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 4;
const IN: u8 = 5;
const LIKE: u8 = 6;
const UNARY: u8 = 7;

/// Parses a whole text.
///
/// # Errors
/// If it is not an expression, or too long, or nested too deeply.
pub(super) fn parse(text: &str) -> Result<ExpressionNode, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(ParseError::new(
            text,
            0,
            format!("the expression is longer than {MAX_LENGTH} bytes"),
        ));
    }
    let tokens = tokenize(text)?;
    let mut parser = CesqlParser {
        text,
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let root = parser.expression(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(root),
        Some(_) => Err(parser.error("an operator or the end was expected here")),
    }
}

struct CesqlParser<'t> {
    text: &'t str,
    tokens: &'t [PlacedToken<'t>],
    at: usize,
    depth: usize,
}

impl<'t> CesqlParser<'t> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        let at = self
            .tokens
            .get(self.at)
            .map_or(self.text.len(), |(at, _)| *at);
        ParseError::new(self.text, at, message)
    }

    fn peek_sign(&self, sign: &str) -> bool {
        matches!(self.tokens.get(self.at), Some((_, CesqlToken::Sign(found))) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.peek_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn peek_keyword(&self, ahead: usize, keyword: &str) -> bool {
        let token = self.tokens.get(self.at + ahead);
        matches!(token, Some((_, CesqlToken::Word(word))) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek_keyword(0, keyword);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.take_sign(sign) {
            Ok(())
        } else {
            Err(self.error(format!("{sign:?} was expected here")))
        }
    }

    /// Parses an expression whose operators bind at least as strongly as `power`.
    fn expression(&mut self, power: u8) -> Result<ExpressionNode, ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!(
                "the expression is nested more than {MAX_DEPTH} deep"
            )));
        }
        let mut left = self.prefix()?;
        let mut chained = 0;
        loop {
            let (next, is_longer) = self.postfix(left, power)?;
            left = next;
            if !is_longer {
                break;
            }
            chained += 1;
            if self.depth + chained > MAX_DEPTH {
                return Err(self.error(format!(
                    "more than {MAX_DEPTH} operators follow each other: use IN, or several filters"
                )));
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Parses what follows `left` and belongs to it, if that binds strongly enough; gives the
    /// longer expression, and true if it is longer.
    fn postfix(
        &mut self,
        left: ExpressionNode,
        power: u8,
    ) -> Result<(ExpressionNode, bool), ParseError> {
        let negated = usize::from(self.peek_keyword(0, "NOT"));
        if self.peek_keyword(negated, "LIKE") && LIKE >= power {
            self.at += negated + 1;
            return self.like(left).map(|like| (negate_if(negated, like), true));
        }
        if self.peek_keyword(negated, "IN") && IN >= power {
            self.at += negated + 1;
            return self
                .set(left)
                .map(|is_in| (negate_if(negated, is_in), true));
        }
        match self.operator() {
            Some((operator, binds)) if binds >= power => {
                self.at += 1;
                let (left, right) = (Box::new(left), Box::new(self.expression(binds + 1)?));
                Ok((ExpressionNode::Binary(operator, left, right), true))
            }
            _ => Ok((left, false)),
        }
    }

    /// Parses the set of `IN`.
    fn set(&mut self, left: ExpressionNode) -> Result<ExpressionNode, ParseError> {
        let set = self.list()?;
        if set.is_empty() {
            return Err(self.error("IN needs at least one element"));
        }
        Ok(ExpressionNode::In(Box::new(left), set))
    }

    fn operator(&self) -> Option<(BinaryOperator, u8)> {
        match self.tokens.get(self.at).map(|(_, token)| token)? {
            CesqlToken::Sign(sign) => sign_operator(sign),
            CesqlToken::Word(word) => {
                let logic = [
                    ("AND", BinaryOperator::And),
                    ("OR", BinaryOperator::Or),
                    ("XOR", BinaryOperator::Xor),
                ];
                logic
                    .into_iter()
                    .find(|(name, _)| word.eq_ignore_ascii_case(name))
                    .map(|(_, operator)| (operator, LOGIC))
            }
            CesqlToken::Number(_) | CesqlToken::String(_) => None,
        }
    }

    fn like(&mut self, left: ExpressionNode) -> Result<ExpressionNode, ParseError> {
        let Some((_, CesqlToken::String(pattern))) = self.tokens.get(self.at) else {
            return Err(self.error("LIKE needs a pattern in quotes"));
        };
        self.at += 1;
        Ok(ExpressionNode::Like(
            Box::new(left),
            LikePattern::new(pattern),
        ))
    }

    /// Parses the beginning of an expression.
    fn prefix(&mut self) -> Result<ExpressionNode, ParseError> {
        if self.take_keyword("NOT") {
            return self
                .expression(UNARY)
                .map(|x| ExpressionNode::Not(Box::new(x)));
        }
        if self.take_sign("-") {
            return self.negative();
        }
        if self.take_sign("+") {
            return self.number("");
        }
        if self.take_keyword("EXISTS") {
            return self.attribute().map(ExpressionNode::Exists);
        }
        if self.take_sign("(") {
            let inner = self.expression(0)?;
            return self.expect_sign(")").map(|()| inner);
        }
        self.atom()
    }

    /// Parses what follows a `-`. A sign before a number belongs to it, so that the least integer
    /// can be written.
    fn negative(&mut self) -> Result<ExpressionNode, ParseError> {
        if matches!(self.tokens.get(self.at), Some((_, CesqlToken::Number(_)))) {
            return self.number("-");
        }
        self.expression(UNARY)
            .map(|x| ExpressionNode::Negate(Box::new(x)))
    }

    fn number(&mut self, sign: &str) -> Result<ExpressionNode, ParseError> {
        let Some((_, CesqlToken::Number(digits))) = self.tokens.get(self.at) else {
            return Err(self.error("a number was expected here"));
        };
        let number = format!("{sign}{digits}")
            .parse()
            .map_err(|_cause| self.error("an integer must fit 32 bits"))?;
        self.at += 1;
        Ok(ExpressionNode::Integer(number))
    }

    fn atom(&mut self) -> Result<ExpressionNode, ParseError> {
        match self.tokens.get(self.at).map(|(_, token)| token.clone()) {
            Some(CesqlToken::Number(_)) => self.number(""),
            Some(CesqlToken::String(text)) => {
                self.at += 1;
                Ok(ExpressionNode::String(text.into_owned()))
            }
            Some(CesqlToken::Word(word))
                if word.eq_ignore_ascii_case("TRUE") || word.eq_ignore_ascii_case("FALSE") =>
            {
                self.at += 1;
                Ok(ExpressionNode::Boolean(word.eq_ignore_ascii_case("TRUE")))
            }
            Some(CesqlToken::Word(word))
                if matches!(
                    self.tokens.get(self.at + 1),
                    Some((_, CesqlToken::Sign("(")))
                ) =>
            {
                self.call(word)
            }
            Some(_) => self.attribute().map(ExpressionNode::Attribute),
            None => Err(self.error("the expression ends too early")),
        }
    }

    fn call(&mut self, name: &str) -> Result<ExpressionNode, ParseError> {
        if KEYWORDS
            .iter()
            .any(|keyword| keyword.eq_ignore_ascii_case(name))
        {
            return Err(self.error("a value was expected here"));
        }
        self.at += 1;
        let arguments = self.list()?;
        Ok(ExpressionNode::Call(
            CesqlFunction::find(name, arguments.len()),
            arguments,
        ))
    }

    /// Parses expressions in parentheses, separated by commas; possibly none.
    fn list(&mut self) -> Result<Vec<ExpressionNode>, ParseError> {
        self.expect_sign("(")?;
        let mut items = Vec::new();
        if self.take_sign(")") {
            return Ok(items);
        }
        loop {
            items.push(self.expression(0)?);
            if !self.take_sign(",") {
                items.shrink_to_fit();
                return self.expect_sign(")").map(|()| items);
            }
        }
    }

    /// Parses the name of an attribute, which becomes lower-case.
    fn attribute(&mut self) -> Result<String, ParseError> {
        let Some((_, CesqlToken::Word(word))) = self.tokens.get(self.at) else {
            return Err(self.error("a value was expected here"));
        };
        let keyword = KEYWORDS
            .iter()
            .any(|keyword| keyword.eq_ignore_ascii_case(word));
        if keyword || word.contains('_') {
            return Err(self.error(format!("{word:?} is not the name of an attribute")));
        }
        let name = word.to_ascii_lowercase();
        self.at += 1;
        Ok(name)
    }
}

fn negate_if(negated: usize, expression: ExpressionNode) -> ExpressionNode {
    if negated > 0 {
        ExpressionNode::Not(Box::new(expression))
    } else {
        expression
    }
}

fn sign_operator(sign: &str) -> Option<(BinaryOperator, u8)> {
    Some(match sign {
        "*" => (BinaryOperator::Multiply, PRODUCT),
        "/" => (BinaryOperator::Divide, PRODUCT),
        "%" => (BinaryOperator::Remainder, PRODUCT),
        "+" => (BinaryOperator::Add, SUM),
        "-" => (BinaryOperator::Subtract, SUM),
        "=" => (BinaryOperator::Equal, COMPARISON),
        "!=" | "<>" => (BinaryOperator::NotEqual, COMPARISON),
        "<" => (BinaryOperator::Less, COMPARISON),
        "<=" => (BinaryOperator::LessOrEqual, COMPARISON),
        ">" => (BinaryOperator::Greater, COMPARISON),
        ">=" => (BinaryOperator::GreaterOrEqual, COMPARISON),
        _ => return None,
    })
}
