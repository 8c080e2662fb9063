//! Cron expressions: five fields, or six with seconds in front, as sets of numbers.
//!
//! The form is that of crontab(5) with the usual additions: names of months and weekdays, `a-b/n`, `a/n`, `L` for the last
//! day, `FRI#2` for the second Friday, `FRIL` for the last one, and words such as `@daily`.

/// Longer expressions are refused before they are looked at.
const MAX_CHARS: usize = 256;
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const WORDS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The fields: bit `n` of a set stands for the number `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one field how it begins")]
pub struct Cron {
    pub seconds: u64,
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    /// Bit 0 is the last day of the month, bit 1 the one before it.
    pub days_from_end: u64,
    months: u64,
    /// Sunday is 0.
    pub weekdays: u64,
    /// For each weekday the bits 1 to 5 for the first to the fifth of a month, and [`Self::LAST_WEEKDAY`].
    pub nth_weekdays: [u8; 7],
    /// The field begins with `*`, and so restricts nothing by itself.
    pub any_day: bool,
    pub any_weekday: bool,
    pub any_hour: bool,
    pub any_minute: bool,
}

/// What a field may hold.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// The names of its numbers, from the least on.
    words: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", least: 0, most: 59, words: &[] };
const MINUTE: Field = Field { name: "minute", least: 0, most: 59, words: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, words: &[] };
const DAY: Field = Field { name: "day of month", least: 1, most: 31, words: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, words: MONTHS };
/// 7 is Sunday, too.
const WEEKDAY: Field = Field { name: "day of week", least: 0, most: 7, words: WEEKDAYS };

impl Cron {
    /// In `nth_weekdays`: the last one of a month.
    pub const LAST_WEEKDAY: u8 = 1 << 7;

    /// Reads an expression; an error says which field is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_CHARS {
            return Err(format!("has more than {MAX_CHARS} characters"));
        }
        let text = text.trim();
        let text = if text.starts_with('@') { word(text)? } else { text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (seconds, rest) = match fields.as_slice() {
            rest @ [_, _, _, _, _] => ("0", rest),
            [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
            other => {
                let count = other.len();
                return Err(format!(
                    "must have 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in front; it has {count}"
                ));
            }
        };
        let [minutes, hours, days, months, weekdays] = *rest else { return Err("must have 5 or 6 fields".to_owned()) };
        let mut cron = Self {
            seconds: SECOND.read(seconds)?,
            minutes: MINUTE.read(minutes)?,
            hours: HOUR.read(hours)?,
            days: 0,
            days_from_end: 0,
            months: MONTH.read(months)?,
            weekdays: 0,
            nth_weekdays: [0; 7],
            any_day: days.starts_with(['*', '?']),
            any_weekday: weekdays.starts_with(['*', '?']),
            any_hour: hours.starts_with('*'),
            any_minute: minutes.starts_with('*'),
        };
        cron.read_days(days)?;
        cron.read_weekdays(weekdays)?;
        // `*/2` is a restriction, though it begins with a star.
        cron.any_day &= cron.days & 0xffff_fffe == 0xffff_fffe;
        cron.any_weekday &= cron.weekdays & 0x7f == 0x7f;
        Ok(cron)
    }

    pub fn has_month(&self, month: u32) -> bool {
        self.months & (1 << month) != 0
    }

    fn read_days(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            match part.strip_prefix(['L', 'l']) {
                Some("") => self.days_from_end |= 1,
                Some(rest) => {
                    let before = rest.strip_prefix('-').and_then(|digits| digits.parse::<u32>().ok());
                    let before = before.filter(|before| *before <= 30);
                    let before = before.ok_or_else(|| DAY.wrong(part, "is not L, or L-1 to L-30"))?;
                    self.days_from_end |= 1 << before;
                }
                None if part == "?" => self.days |= DAY.read("*")?,
                None => self.days |= DAY.part(part)?,
            }
        }
        Ok(())
    }

    fn read_weekdays(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            let last = part.strip_suffix(['L', 'l']).filter(|day| !day.is_empty());
            if let Some((day, nth)) = part.split_once('#') {
                let nth = nth.parse::<u32>().ok().filter(|nth| (1..=5).contains(nth));
                let nth = nth.ok_or_else(|| WEEKDAY.wrong(part, "names no day from #1 to #5"))?;
                self.nth_weekdays[WEEKDAY.number(day)? as usize % 7] |= 1 << nth;
            } else if let Some(day) = last {
                self.nth_weekdays[WEEKDAY.number(day)? as usize % 7] |= Self::LAST_WEEKDAY;
            } else if part == "?" {
                self.weekdays |= 0x7f;
            } else {
                let days = WEEKDAY.part(part)?;
                self.weekdays |= (days | days >> 7) & 0x7f;
            }
        }
        Ok(())
    }
}

/// The expression that a word stands for.
fn word(text: &str) -> Result<&'static str, String> {
    let found = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, expression)| *expression).ok_or_else(|| {
        let known: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("'{text}' is not one of: {}; for an interval write `every`, such as every: 90s", known.join(", "))
    })
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |all, part| Ok(all | self.part(part)?))
    }

    /// `*`, `a`, `a-b`, each with `/n`; `a/n` goes on to the field's end.
    fn part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| (1..=self.most).contains(step));
                (range, Some(step.ok_or_else(|| self.wrong(part, &format!("has no step of 1 to {}", self.most)))?))
            }
        };
        // Saturday ends the week, though 7 is a number for Sunday.
        let end = if self.is_weekday() { 6 } else { self.most };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, end),
            Some((first, last)) => match (self.number(first)?, self.number(last)?) {
                (first @ 1.., 0) if self.is_weekday() => (first, 7),
                both => both,
            },
            None if step.is_some() => (self.number(range)?, end),
            None => (self.number(range)?, self.number(range)?),
        };
        if first > last {
            return Err(self.wrong(part, "ends before it begins; write two ranges with a comma"));
        }
        Ok((first..=last).step_by(step.unwrap_or(1) as usize).fold(0, |all, number| all | 1 << number))
    }

    fn is_weekday(&self) -> bool {
        self.most == WEEKDAY.most
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let by_word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = by_word.map(|at| at as u32 + self.least).or_else(|| text.parse().ok().filter(|_| is_number));
        number.filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| {
            let names = match self.words {
                [] => String::new(),
                [first, .., last] => format!(", or {first} to {last}"),
                [only] => format!(", or {only}"),
            };
            self.wrong(text, &format!("is not {} to {}{names}", self.least, self.most))
        })
    }

    fn wrong(&self, part: &str, what: &str) -> String {
        format!("{}: '{part}' {what}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(numbers: &[u32]) -> u64 {
        numbers.iter().fold(0, |all, number| all | 1 << number)
    }

    #[test]
    fn fields_are_sets_of_numbers() {
        let cron = Cron::parse("5 0/20 8-10,22 1-7/3 jan,DEC mon-wed,7").expect("an expression");
        assert_eq!((cron.seconds, cron.minutes, cron.hours), (bits(&[5]), bits(&[0, 20, 40]), bits(&[8, 9, 10, 22])));
        assert_eq!((cron.days, cron.months, cron.weekdays), (bits(&[1, 4, 7]), bits(&[1, 12]), bits(&[0, 1, 2, 3])));
        let cron = Cron::parse("*/15 * L,L-2 * FRI#2,5L").expect("an expression");
        assert_eq!((cron.seconds, cron.minutes), (1, bits(&[0, 15, 30, 45])));
        assert_eq!((cron.days, cron.days_from_end), (0, 0b101));
        assert_eq!(cron.nth_weekdays, [0, 0, 0, 0, 0, 1 << 2 | Cron::LAST_WEEKDAY, 0]);
        assert!(cron.any_hour && cron.any_minute && !cron.any_day && !cron.any_weekday);
        assert_eq!(Cron::parse("0 0 * * FRI-SUN").expect("an expression").weekdays, bits(&[0, 5, 6]));
    }

    #[test]
    fn a_star_with_a_step_restricts_the_days() {
        let cron = Cron::parse("0 0 */2 * ?").expect("an expression");
        assert!(!cron.any_day && cron.any_weekday);
        assert!(Cron::parse("0 0 * * *").is_ok_and(|cron| cron.any_day && cron.any_weekday));
    }

    #[test]
    fn words_stand_for_expressions() {
        assert_eq!(Cron::parse("@Daily"), Cron::parse("0 0 * * *"));
        assert_eq!(Cron::parse(" @hourly "), Cron::parse("0 * * * *"));
        assert!(Cron::parse("@reboot").expect_err("refused").contains("@yearly"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("61 * * * *", "minute: '61' is not 0 to 59"),
            ("* 24 * * *", "hour: '24' is not 0 to 23"),
            ("* * 0 * *", "day of month: '0' is not 1 to 31"),
            ("* * * 13 *", "month: '13' is not 1 to 12, or JAN to DEC"),
            ("* * * * FRIDAY", "day of week: 'FRIDAY' is not 0 to 7, or SUN to SAT"),
            ("* * * * FRI-MON", "day of week: 'FRI-MON' ends before it begins"),
            ("*/0 * * * *", "minute: '*/0' has no step of 1 to 59"),
            ("* * L-31 * *", "day of month: 'L-31' is not L"),
            ("* * * * 5#6", "day of week: '5#6' names no day"),
            ("+1 * * * *", "minute: '+1' is not"),
            ("1, * * * *", "minute: '' is not"),
            ("* * * *", "must have 5 fields"),
            ("0 0 0 1 1 ? 2030", "it has 7"),
            ("", "it has 0"),
        ] {
            let error = Cron::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Cron::parse(&"1,".repeat(200)).is_err());
    }
}
