//! Durations and sizes as people write them, in specs, settings and configurations.

use std::time::Duration;

/// `250ms`, `30s`, `5m`, `2h`, `7d`; `None` where it is none of these.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}

/// `512B`, `64KiB`, `16MiB`, `10GiB`, `1TiB`, the same with powers of ten (`5MB`), or a bare number of bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let each: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(each)
}

/// Returns a size as people read it: `512 B`, `1.5 MiB`, `10 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // What would be written as 1024.0 is 1 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let name = UNITS.get(unit).copied().unwrap_or("EiB");
    let text = format!("{value:.1}");
    format!("{} {name}", text.strip_suffix(".0").unwrap_or(&text))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_written_with_one_decimal_and_its_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(bytes("10GiB"), Some(10 << 30));
        assert_eq!(bytes("1048576"), Some(1 << 20));
        for wrong in
            ["", "5", "m", "-5m", "5 minutes", "5M", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for wrong in ["", "GiB", "-1", "1.5GiB", "1gib", "99999999999TiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
