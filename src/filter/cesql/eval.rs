//! Evaluation of expressions: total, bounded by the expression's depth and by a meter, without
//! allocation for comparisons of attributes and literals. It fails fast (cesql §4.1): after the
//! first error, everything around it has the zero value of its type.

use std::borrow::Cow;

use super::ast::{BinaryOperator, ExpressionNode};
use super::evaluation_error::EvaluationError;
use super::function::CesqlFunction;
use super::like::LikePattern;
use super::meter::{MeterExceeded, WorkMeter};
use super::value::CesqlValue;

/// Steps of work that visiting an operation counts as.
const VISIT: usize = 4;

/// Source of attributes. Each lookup takes the steps that it costs from the meter.
pub trait AttributeSource<'e> {
    /// Value of the attribute of that name (lower case); `None` if it is not set.
    ///
    /// # Errors
    /// If too few steps or bytes are left.
    fn get(
        &self,
        name: &str,
        meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded>;

    /// True if the attribute of that name (lower case) is set.
    ///
    /// # Errors
    /// If too few steps are left.
    fn exists(&self, name: &str, meter: &mut WorkMeter) -> Result<bool, MeterExceeded>;

    /// True if the correlation id of a reply is genuine; `None` if there is no key to verify it,
    /// which is an error of the function, so that nothing around it can make the event pass.
    ///
    /// # Errors
    /// If too few steps or bytes are left.
    fn verifies_correlation_id(
        &self,
        _asked: &CorrelationQuery<'_>,
        _meter: &mut WorkMeter,
    ) -> Result<Option<bool>, MeterExceeded> {
        Ok(None)
    }
}

/// Arguments of a call of `KN_VERIFY_CORRELATION_ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrelationQuery<'c> {
    /// Correlation id of a reply.
    pub id: &'c str,
    /// Name of the RequestReply that the id should be for.
    pub name: &'c str,
    /// Namespace of the RequestReply.
    pub namespace: &'c str,
    /// Name of the Secret with its keys.
    pub secret: &'c str,
    /// Index of the process that should wait for the reply.
    pub index: i32,
    /// Number of such processes.
    pub replicas: i32,
}

/// Value of an expression, and the first error that arose on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationResult<'e> {
    /// The value; the zero value of its type where an error left none.
    pub value: CesqlValue<'e>,
    /// The first error, if any arose.
    pub error: Option<EvaluationError>,
}

/// Evaluates a whole expression. A result without a type, such as that of a missing attribute
/// alone, is `false` (cesql §3.2).
pub(super) fn evaluate<'e>(
    root: &'e ExpressionNode,
    attributes: &dyn AttributeSource<'e>,
    meter: &mut WorkMeter,
) -> EvaluationResult<'e> {
    let mut evaluation = ExpressionEvaluation {
        attributes,
        meter,
        error: None,
    };
    let value = evaluation.value(root).unwrap_or(CesqlValue::Boolean(false));
    EvaluationResult {
        value,
        error: evaluation.error,
    }
}

struct ExpressionEvaluation<'a, 'e> {
    attributes: &'a dyn AttributeSource<'e>,
    meter: &'a mut WorkMeter,
    error: Option<EvaluationError>,
}

/// Value of an operand; `None` where the zero value of the operation counts, since an operand is
/// missing or cannot be cast.
type OperandValue<T> = Option<T>;

impl<'e> ExpressionEvaluation<'_, 'e> {
    fn fail<T>(&mut self, error: EvaluationError) -> OperandValue<T> {
        self.error.get_or_insert(error);
        None
    }

    /// Turns an exceeded meter into an error of the evaluation.
    fn within<T>(&mut self, result: Result<T, MeterExceeded>) -> OperandValue<T> {
        result.map_or_else(|exceeded| self.fail(exceeded.into()), Some)
    }

    /// Value of an operand, if no error arose on the way to it.
    fn operand(&mut self, expression: &'e ExpressionNode) -> OperandValue<CesqlValue<'e>> {
        self.value(expression).filter(|_| self.error.is_none())
    }

    fn value(&mut self, expression: &'e ExpressionNode) -> OperandValue<CesqlValue<'e>> {
        let step = self.meter.step(VISIT);
        self.within(step)?;
        Some(match expression {
            ExpressionNode::String(text) => CesqlValue::String(Cow::Borrowed(text)),
            ExpressionNode::Integer(number) => CesqlValue::Integer(*number),
            ExpressionNode::Boolean(truth) => CesqlValue::Boolean(*truth),
            ExpressionNode::Attribute(name) => return self.attribute(name),
            ExpressionNode::Not(x) => {
                CesqlValue::Boolean(self.boolean(x).is_some_and(|truth| !truth))
            }
            ExpressionNode::Negate(x) => CesqlValue::Integer(self.negate(x).unwrap_or(0)),
            ExpressionNode::Binary(operator, x, y) => self.binary(*operator, x, y),
            ExpressionNode::Like(x, pattern) => {
                CesqlValue::Boolean(self.like(x, pattern).unwrap_or(false))
            }
            ExpressionNode::Exists(name) => {
                let exists = self.attributes.exists(name, self.meter);
                CesqlValue::Boolean(self.within(exists)?)
            }
            ExpressionNode::In(x, set) => CesqlValue::Boolean(self.is_in(x, set).unwrap_or(false)),
            ExpressionNode::Call(function, arguments) => self
                .call(function, arguments)
                .unwrap_or_else(|| function.zero_value()),
        })
    }

    fn call(
        &mut self,
        function: &CesqlFunction,
        arguments: &'e [ExpressionNode],
    ) -> OperandValue<CesqlValue<'e>> {
        let room = self
            .meter
            .allocate(arguments.len().saturating_mul(size_of::<CesqlValue<'e>>()));
        self.within(room)?;
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| self.operand(argument))
            .collect::<Option<_>>()?;
        if *function == CesqlFunction::VerifyCorrelationId {
            return self.verify(&arguments).map(CesqlValue::Boolean);
        }
        let outcome = function.call(arguments, self.meter);
        let (value, error) = self.within(outcome)?;
        self.error = self.error.or(error);
        Some(value)
    }

    /// Verifies a correlation id. The last two arguments are cast to integers, the others to text
    /// (cesql §3.7).
    fn verify(&mut self, arguments: &[CesqlValue<'e>]) -> OperandValue<bool> {
        let [id, name, namespace, secret, index, replicas] = arguments else {
            return None;
        };
        let texts = [id, name, namespace, secret].map(|argument| argument.as_text(self.meter));
        let [id, name, namespace, secret] = texts.map(|text| self.within(text));
        let numbers = [index, replicas].map(|argument| argument.to_integer(self.meter));
        let [index, replicas] = numbers.map(|number| self.within(number));
        let (Some(index), Some(replicas)) = (index?, replicas?) else {
            return self.fail(EvaluationError::Cast);
        };
        let (id, name, namespace, secret) = (id?, name?, namespace?, secret?);
        let asked = CorrelationQuery {
            id: &id,
            name: &name,
            namespace: &namespace,
            secret: &secret,
            index,
            replicas,
        };
        let genuine = self.attributes.verifies_correlation_id(&asked, self.meter);
        match self.within(genuine)? {
            Some(genuine) => Some(genuine),
            None => self.fail(EvaluationError::FunctionEvaluation),
        }
    }

    fn like(&mut self, x: &'e ExpressionNode, pattern: &LikePattern) -> OperandValue<bool> {
        let x = self.operand(x)?;
        let matches = x
            .into_text(self.meter)
            .and_then(|text| pattern.matches(&text, self.meter));
        self.within(matches)
    }

    fn attribute(&mut self, name: &str) -> OperandValue<CesqlValue<'e>> {
        let value = self.attributes.get(name, self.meter);
        match self.within(value)? {
            Some(value) => Some(value),
            None => self.fail(EvaluationError::MissingAttribute),
        }
    }

    fn negate(&mut self, x: &'e ExpressionNode) -> OperandValue<i32> {
        match self.integer(x)?.checked_neg() {
            Some(negative) => Some(negative),
            None => self.fail(EvaluationError::Math),
        }
    }

    fn boolean(&mut self, x: &'e ExpressionNode) -> OperandValue<bool> {
        match self.operand(x)?.to_boolean() {
            Some(truth) => Some(truth),
            None => self.fail(EvaluationError::Cast),
        }
    }

    fn integer(&mut self, x: &'e ExpressionNode) -> OperandValue<i32> {
        let integer = self.operand(x)?.to_integer(self.meter);
        match self.within(integer)? {
            Some(number) => Some(number),
            None => self.fail(EvaluationError::Cast),
        }
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        x: &'e ExpressionNode,
        y: &'e ExpressionNode,
    ) -> CesqlValue<'e> {
        match operator {
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor => {
                CesqlValue::Boolean(self.logic(operator, x, y).unwrap_or(false))
            }
            BinaryOperator::Equal => CesqlValue::Boolean(self.equal(x, y).unwrap_or(false)),
            BinaryOperator::NotEqual => {
                CesqlValue::Boolean(self.equal(x, y).is_some_and(|equal| !equal))
            }
            BinaryOperator::Less
            | BinaryOperator::LessOrEqual
            | BinaryOperator::Greater
            | BinaryOperator::GreaterOrEqual => {
                CesqlValue::Boolean(self.compare(operator, x, y).unwrap_or(false))
            }
            _ => CesqlValue::Integer(self.calculate(operator, x, y).unwrap_or(0)),
        }
    }

    /// Evaluates a logical operator. The right side counts only where the left one does not decide
    /// (cesql §3.4.2).
    fn logic(
        &mut self,
        operator: BinaryOperator,
        x: &'e ExpressionNode,
        y: &'e ExpressionNode,
    ) -> OperandValue<bool> {
        match (operator, self.boolean(x)?) {
            (BinaryOperator::And, false) => Some(false),
            (BinaryOperator::Or, true) => Some(true),
            (BinaryOperator::Xor, x) => Some(x != self.boolean(y)?),
            _ => self.boolean(y),
        }
    }

    /// Evaluates an equation. The left side is cast to the type of the right one (cesql §3.7).
    fn equal(&mut self, x: &'e ExpressionNode, y: &'e ExpressionNode) -> OperandValue<bool> {
        let (x, y) = (self.operand(x)?, self.operand(y)?);
        self.equal_values(&x, &y)
    }

    fn equal_values(&mut self, x: &CesqlValue<'_>, y: &CesqlValue<'_>) -> OperandValue<bool> {
        let equal = match y {
            CesqlValue::String(y) => x
                .as_text(self.meter)
                .and_then(|x| equal_texts(&x, y, self.meter))
                .map(Some),
            CesqlValue::Integer(y) => x.to_integer(self.meter).map(|x| x.map(|x| x == *y)),
            CesqlValue::Boolean(y) => Ok(x.to_boolean().map(|x| x == *y)),
        };
        match self.within(equal)? {
            Some(equal) => Some(equal),
            None => self.fail(EvaluationError::Cast),
        }
    }

    /// Evaluates `IN`. The elements are cast to the type of the left side (cesql §3.7).
    fn is_in(&mut self, x: &'e ExpressionNode, set: &'e [ExpressionNode]) -> OperandValue<bool> {
        let x = self.operand(x)?;
        for element in set {
            let element = self.operand(element)?;
            if self.equal_values(&element, &x)? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn compare(
        &mut self,
        operator: BinaryOperator,
        x: &'e ExpressionNode,
        y: &'e ExpressionNode,
    ) -> OperandValue<bool> {
        let order = self.integer(x)?.cmp(&self.integer(y)?);
        Some(match operator {
            BinaryOperator::Less => order.is_lt(),
            BinaryOperator::LessOrEqual => order.is_le(),
            BinaryOperator::Greater => order.is_gt(),
            _ => order.is_ge(),
        })
    }

    /// Evaluates an arithmetic operator. A result of more than 32 bits is a math error, as is a
    /// division by zero.
    fn calculate(
        &mut self,
        operator: BinaryOperator,
        x: &'e ExpressionNode,
        y: &'e ExpressionNode,
    ) -> OperandValue<i32> {
        let (x, y) = (self.integer(x)?, self.integer(y)?);
        let result = match operator {
            BinaryOperator::Multiply => x.checked_mul(y),
            BinaryOperator::Divide => x.checked_div(y),
            BinaryOperator::Remainder if y == -1 => Some(0),
            BinaryOperator::Remainder => x.checked_rem(y),
            BinaryOperator::Add => x.checked_add(y),
            _ => x.checked_sub(y),
        };
        match result {
            Some(result) => Some(result),
            None => self.fail(EvaluationError::Math),
        }
    }
}

/// Compares texts; those of unequal length take no step.
fn equal_texts(x: &str, y: &str, meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
    if x.len() != y.len() {
        return Ok(false);
    }
    meter.step(x.len())?;
    Ok(x == y)
}
