//! Advice for a misspelt command line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Letters that may be wrong in a word for it to be taken for another.
const WRONG_LETTERS: usize = 2;

/// The error with better advice, where there is any: `clap` takes a wrong subcommand for an argument that is
/// not expected, and of an option says how to pass it to a command.
pub(crate) fn mend(mut error: clap::Error, command: &mut clap::Command) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
    if word.starts_with('-') {
        error.remove(ContextKind::Suggested);
        return error;
    }
    let names = command.get_subcommands().filter(|known| !known.is_hide_set()).map(clap::Command::get_name);
    let Some(advice) = advice(word, names) else { return error };
    let message = format!("there is no subcommand `{word}`; {advice}");
    command.error(ErrorKind::InvalidSubcommand, message)
}

fn advice<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    if ["kernel", "userspace"].contains(&word) {
        return Some(format!("the mode is an option: `nsrouter --mode {word}`"));
    }
    let near = names.map(|name| (distance(word, name), name)).min()?;
    // Of a short word more than half would have to be wrong.
    (near.0 <= WRONG_LETTERS && near.0 * 2 <= word.chars().count())
        .then(|| format!("did you mean `nsrouter {}`?", near.1))
}

/// Letters to add, leave out, change or swap with the next one, to make `b` of `a` (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (a, b, letters) in
            [("check", "check", 0), ("chekc", "check", 1), ("chck", "check", 1), ("", "up", 2)]
        {
            assert_eq!(distance(a, b), letters, "{a} {b}");
        }
    }

    #[test]
    fn a_near_word_is_meant_and_a_far_one_is_not() {
        let advice = |word| advice(word, ["check", "clean", "up", "ls", "status"].into_iter());
        for (word, part) in [
            ("chekc", "nsrouter check"),
            ("stat", "nsrouter status"),
            ("kernel", "--mode kernel"),
            ("pu", "nsrouter up"),
        ] {
            assert!(advice(word).is_some_and(|text| text.contains(part)), "{word}: {:?}", advice(word));
        }
        assert_eq!((advice("x"), advice("frobnicate"), advice("t1")), (None, None, None));
    }
}
