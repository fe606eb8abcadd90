//! Sizes in bytes as people write them.

/// Reads a number of bytes: a number alone, or one with `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// Says what to write.
pub(crate) fn parse_byte_size(text: &str) -> Result<usize, &'static str> {
    const REMEDY: &str = "write a number of bytes, such as 65536 or 64KiB or 10MiB";
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at_checked(at).ok_or(REMEDY)?,
        None => (text, ""),
    };
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return Err(REMEDY),
    };
    let number = number.parse::<usize>().ok();
    let bytes = number.and_then(|number| number.checked_mul(factor));
    bytes.ok_or(REMEDY)
}
