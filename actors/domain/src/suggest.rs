//! "Did you mean …?": the known word that a misspelt one is most like.
//!
//! The distance is optimal string alignment (insertions, deletions, substitutions, and neighbours swapped; Damerau,
//! "A technique for computer detection and correction of spelling errors", 1964). Words and their number are bounded,
//! so that a hostile document cannot make its own error message dear.

/// Longer words are not compared.
const WORD_CHARS: usize = 64;
/// More known words than this are not looked at.
const KNOWN_WORDS: usize = 1_000;

/// The known word that is most like `word`, if one is like it at all: a third of its letters may differ, at most three.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > WORD_CHARS {
        return None;
    }
    let most = (length / 3).clamp(1, 3);
    let near = known.into_iter().take(KNOWN_WORDS).filter(|other| *other != word && other.len() <= 4 * WORD_CHARS);
    let measured = near.filter_map(|other| {
        let distance = if other.eq_ignore_ascii_case(word) { 0 } else { distance(word, other, most)? };
        Some((distance, other))
    });
    measured.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// What is appended to a message: a question, or nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// What is appended to a message about an unknown word: what it was meant to be, or all that it could be.
pub fn meant_or_known(word: &str, known: &[&str], list: &str) -> String {
    closest(word, known.iter().copied())
        .map_or_else(|| format!("; {list} {}", known.join(", ")), |word| format!("; did you mean `{word}`?"))
}

/// The distance, where it is not more than `most` and less than a whole word.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Three rows of the table are enough: a swap looks back two.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut fewest = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                fewest = fewest.min(before[j - 1] + 1);
            }
            row.push(fewest);
        }
        before = std::mem::replace(&mut last, row);
    }
    let found = last[b.len()];
    (found <= most && found < a.len().max(b.len())).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_proposed_and_none_where_none_is_near() {
        let known = ["trigger_type", "trigger_config", "flow_name", "id", "if"];
        assert_eq!(closest("triger_type", known), Some("trigger_type"));
        assert_eq!(closest("flow_nmae", known), Some("flow_name"), "a swap is one mistake");
        assert_eq!(closest("ID", known), Some("id"), "capitals are no mistake");
        assert_eq!(closest("speed", known), None);
        assert_eq!(closest("x", known), None, "a whole word is not like another");
        assert_eq!(closest("completd", ["completed"]), Some("completed"));
        assert_eq!(did_you_mean("iid", known), "; did you mean `id`?");
        assert_eq!(did_you_mean("nothing", known), "");
    }

    #[test]
    fn long_words_are_not_compared() {
        assert_eq!(closest(&"a".repeat(65), ["a"]), None);
        let long = "a".repeat(10_000);
        assert_eq!(closest("aaa", [long.as_str()]), None);
        assert_eq!(closest("", ["a"]), None);
    }
}
