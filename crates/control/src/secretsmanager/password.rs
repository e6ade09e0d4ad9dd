//! `GetRandomPassword`, and drawing characters without bias.

use super::find::invalid;
use crate::api::{Ctx, Result};
use quarry_aws::secretsmanager::{GetRandomPasswordRequest, GetRandomPasswordResponse};
use quarry_domain::door::Door;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const LENGTH: i64 = 32;

/// 32 characters of all kinds unless asked otherwise, each included kind at least once.
pub fn get(ctx: &mut Ctx<'_>, input: GetRandomPasswordRequest) -> Result<GetRandomPasswordResponse> {
    let length = input.password_length.unwrap_or(LENGTH);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (1..=4096).contains(length))
        .ok_or_else(|| invalid("Password length must be from 1 to 4096."))?;
    let excluded = input.exclude_characters.unwrap_or_default();
    let kinds = [
        (input.exclude_lowercase, LOWER),
        (input.exclude_uppercase, UPPER),
        (input.exclude_numbers, DIGITS),
        (input.exclude_punctuation, PUNCTUATION),
        (Some(!input.include_space.unwrap_or(false)), " "),
    ];
    let kinds: Vec<Vec<u8>> = kinds
        .into_iter()
        .filter(|(excluded, _)| !excluded.unwrap_or(false))
        .map(|(_, alphabet)| alphabet.bytes().filter(|&b| !excluded.contains(char::from(b))).collect())
        .collect();
    let every = input.require_each_included_type.unwrap_or(true);
    let whole: Vec<u8> = kinds.concat();
    if whole.is_empty() || (every && kinds.iter().any(Vec::is_empty)) {
        return Err(invalid("The password can't be generated: every character of an included type is excluded."));
    }
    if every && kinds.len() > length {
        return Err(invalid(format!(
            "Password length {length} is too short for the {} character types that are required.",
            kinds.len()
        )));
    }
    let door = &ctx.platform.door;
    let mut password: Vec<u8> = Vec::with_capacity(length);
    if every {
        password.extend(kinds.iter().map(|kind| kind[below(door, kind.len())]));
    }
    while password.len() < length {
        password.push(whole[below(door, whole.len())]);
    }
    // Those of each kind must not stand in front.
    for last in (1..password.len()).rev() {
        password.swap(last, below(door, last + 1));
    }
    let password = password.into_iter().map(char::from).collect();
    Ok(GetRandomPasswordResponse { random_password: Some(password) })
}

/// Characters of an ASCII alphabet, each with the same probability.
pub fn draw(door: &Door, alphabet: &[u8], count: usize) -> String {
    (0..count).map(|_| char::from(alphabet[below(door, alphabet.len())])).collect()
}

/// A number below `bound`, each with the same probability: those of an incomplete last run are drawn again.
fn below(door: &Door, bound: usize) -> usize {
    let bound = bound as u64;
    let whole = u64::MAX - u64::MAX % bound;
    loop {
        let mut bytes = [0u8; 8];
        door.entropy.fill(&mut bytes);
        let number = u64::from_be_bytes(bytes);
        if number < whole {
            return (number % bound) as usize;
        }
    }
}
