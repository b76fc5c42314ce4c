//! The API's quantities as the rest of this crate needs them: whole units and rounded-up quotients.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// `ceil(value / divisor)`; `None` if one of them is no quantity or the divisor is zero.
pub(crate) fn divide_up(value: &Quantity, divisor: &Quantity) -> Option<i64> {
    number(value)?.divided_by(number(divisor)?)
}

/// Whether it is zero; what cannot be read is not.
pub(crate) fn is_zero(quantity: &Quantity) -> bool {
    number(quantity).is_some_and(outrigger_api::Quantity::is_zero)
}

/// Whole units, rounded up, at least zero: bytes of a memory quantity.
pub(crate) fn units(quantity: &Quantity) -> Option<u64> {
    u64::try_from(number(quantity)?.value().max(0)).ok()
}

fn number(quantity: &Quantity) -> Option<outrigger_api::Quantity> {
    quantity.0.parse().ok()
}
