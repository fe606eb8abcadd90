//! Check of calls of `KN_VERIFY_CORRELATION_ID`, by their arguments.

use super::possible_values::PossibleBooleans;
use crate::filter::cesql::ast::ExpressionNode;

const NAME: &str = "KN_VERIFY_CORRELATION_ID";

/// Fault of a call: message and possible values.
pub(super) struct VerificationFault {
    pub(super) message: String,
    pub(super) possible: PossibleBooleans,
}

/// Finds the reason for which no id at all can be genuine with these arguments, if there is one.
pub(super) fn find_fault(arguments: &[ExpressionNode]) -> Option<VerificationFault> {
    let [_id, name, namespace, secret, index, replicas] = arguments else {
        return None;
    };
    if let Some(fault) =
        no_integer("pod index", index).or_else(|| no_integer("replica count", replicas))
    {
        return Some(fault);
    }
    let texts = [("name", name), ("namespace", namespace), ("Secret", secret)];
    let found = texts
        .into_iter()
        .find(|(_, argument)| matches!(argument, ExpressionNode::String(text) if text.is_empty()));
    if let Some((what, _)) = found {
        return never_true(&format!("the {what} of {NAME} is empty"));
    }
    match (number(index), number(replicas)) {
        (_, Some(..=0)) => never_true(&format!("the replica count of {NAME} is below 1")),
        (Some(index), Some(replicas)) if index < 0 || index >= replicas => never_true(&format!(
            "the pod index of {NAME} is {index} of {replicas} replicas, which count from 0"
        )),
        _ => None,
    }
}

/// Fault of a call with a text that cannot be cast to an integer.
fn no_integer(what: &str, argument: &ExpressionNode) -> Option<VerificationFault> {
    let ExpressionNode::String(text) = argument else {
        return None;
    };
    let message =
        format!("the {what} of {NAME} is '{text}', which is no integer: write for example 1");
    text.parse::<i32>().is_err().then_some(VerificationFault {
        message,
        possible: PossibleBooleans::NOTHING,
    })
}

/// Fault of a call that is valid, and false for every id.
fn never_true(what: &str) -> Option<VerificationFault> {
    Some(VerificationFault {
        message: format!("{what}, so that no id is genuine: correct it"),
        possible: PossibleBooleans::NEVER,
    })
}

fn number(argument: &ExpressionNode) -> Option<i32> {
    match argument {
        ExpressionNode::Integer(number) => Some(*number),
        ExpressionNode::String(text) => text.parse().ok(),
        ExpressionNode::Negate(inner) => number(inner)?.checked_neg(),
        _ => None,
    }
}
