//! "Did you mean …?": the candidate with the fewest slips of the finger.

/// The nearest of `candidates`, if it is near enough to be meant: at most one slip in three characters.
/// Of two that are as near it is the first in the alphabet, whatever the order of the candidates.
/// Cost: `word.len()` × `candidate.len()` for each candidate of similar length.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST + 1).collect();
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let length = candidate.chars().count();
        let allowed = word.len().max(length).div_ceil(3);
        if length > LONGEST || length.abs_diff(word.len()) > allowed {
            continue;
        }
        let slips = slips(&word, candidate);
        if slips <= allowed && slips < length && best.is_none_or(|best| (slips, candidate) < best) {
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longest word that is compared.
const LONGEST: usize = 64;

/// Damerau–Levenshtein distance in its restricted form (swapped neighbours count as one), blind to case.
fn slips(word: &[char], candidate: &str) -> usize {
    let word: Vec<char> = word.iter().map(char::to_ascii_lowercase).collect();
    let other: Vec<char> = candidate.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = vec![0; other.len() + 1];
    let mut previous: Vec<usize> = (0..=other.len()).collect();
    let mut current: Vec<usize> = vec![0; other.len() + 1];
    for i in 1..=word.len() {
        current[0] = i;
        for j in 1..=other.len() {
            let same = word[i - 1] == other[j - 1];
            let mut least = (previous[j] + 1)
                .min(current[j - 1] + 1)
                .min(previous[j - 1] + usize::from(!same));
            let swapped =
                i > 1 && j > 1 && word[i - 1] == other[j - 2] && word[i - 2] == other[j - 1];
            if swapped {
                least = least.min(before[j - 2] + 1);
            }
            current[j] = least;
        }
        std::mem::swap(&mut before, &mut previous);
        std::mem::swap(&mut previous, &mut current);
    }
    previous[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(word: &str) -> Option<&'static str> {
        nearest(
            word,
            ["upstream", "respond", "redirect", "name", "match"].into_iter(),
        )
    }

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(among("upsteam"), Some("upstream"));
        assert_eq!(among("Upstream"), Some("upstream"));
        assert_eq!(among("redirct"), Some("redirect"));
        assert_eq!(among("nmae"), Some("name"));
        assert_eq!(among("responds"), Some("respond"));
    }

    #[test]
    fn stays_silent_when_nothing_is_near() {
        assert_eq!(among("timeouts"), None);
        assert_eq!(among(""), None);
        assert_eq!(among(&"x".repeat(1000)), None);
        assert_eq!(nearest("a", ["b"].into_iter()), None);
    }

    #[test]
    fn counts_swapped_neighbours_once() {
        let word: Vec<char> = "mtach".chars().collect();
        assert_eq!(slips(&word, "match"), 1);
        assert_eq!(slips(&word, "mtach"), 0);
        assert_eq!(slips(&word, ""), 5);
    }
}
