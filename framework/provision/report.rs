//! What provisioning did and why, in words for people and values for programs. Filled by `life` and `destroy`.

use std::fmt;

use jiff::Timestamp;

/// What became of every resource in one pass, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was done; a resource may be named more than once (updated, then repaired).
    pub deeds: Vec<Deed>,
    /// Somebody ran `destroy` since this process began: nothing is provisioned any more.
    pub destroyed: bool,
    /// Resources that are unhealthy and are left so.
    pub unhealthy: Vec<String>,
}

/// One thing that was done to a resource, or deliberately not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The resource's name.
    pub resource: String,
    /// What.
    pub what: What,
    /// Why, a half sentence. Outside text in it is escaped, secrets are not in it.
    pub why: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Made for the first time.
    Created,
    /// It was there, and belongs to this instance from now on.
    Adopted,
    /// Brought to what is desired.
    Updated,
    /// A new one was made, and the old one removed.
    Replaced,
    /// It was gone, and was made again.
    Recreated,
    /// Made healthy.
    Repaired,
    /// Kept from running out.
    Renewed,
    /// As it should be: nothing was written.
    Kept,
    /// Not as it should be, and that is somebody's choice, or nothing can be done.
    LeftAlone,
    /// Removed.
    Deleted,
    /// It was to be removed, and was gone already.
    AlreadyGone,
}

impl What {
    /// The word for logs, metrics and plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Updated => "updated",
            Self::Replaced => "replaced",
            Self::Recreated => "recreated",
            Self::Repaired => "repaired",
            Self::Renewed => "renewed",
            Self::Kept => "kept",
            Self::LeftAlone => "left alone",
            Self::Deleted => "deleted",
            Self::AlreadyGone => "already gone",
        }
    }
}

impl Report {
    /// What was done to a resource, in order.
    pub fn of<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = What> + 'a {
        self.deeds.iter().filter(move |deed| deed.resource == resource).map(|deed| deed.what)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, self.what.word())?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        Ok(())
    }
}

/// How the vendor's side is, for /healthz, /readyz and the minute's line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What was not well, or not as it should be, when it was last looked at, and was left so.
    pub unwell: Option<String>,
    /// Whether that is because the vendor suspended it, and not because it differs.
    pub unhealthy: bool,
    /// Why the vendor refused, since it last did not.
    pub refusal: Option<String>,
    /// Why the last pass failed; `None` if it did not.
    pub failing: Option<Failing>,
    /// Resources that the vendor said are gone and that could not be created again yet.
    pub gone: Vec<String>,
    /// Resources that match `find` beside ours: the resource's name, and how many and which.
    pub duplicates: Vec<(String, String)>,
    /// When everything was last looked at without a failure; `None` before the first time.
    pub checked: Option<Timestamp>,
    /// Provisioning stopped because somebody ran `destroy`.
    pub destroyed: bool,
    /// When what has a lifetime is renewed, and runs out.
    pub lifetimes: Lifetimes,
}

/// Why a pass failed, and when the next one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// What the vendor said or what happened, escaped.
    pub sentence: String,
    /// Whether the vendor refused, so that trying again helps only after somebody acted.
    pub refused: bool,
    /// Passes that failed one after the other.
    pub tries: u32,
    /// When the next pass is; `None` until that is decided.
    pub next: Option<Timestamp>,
}

impl fmt::Display for Failing {
    /// Writes one sentence: what happened, how often, and when the next try is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        if self.tries > 1 {
            write!(f, " ({} tries)", self.tries)?;
        }
        match self.next {
            Some(next) => write!(f, "; next try at {next:.0}"),
            None => Ok(()),
        }
    }
}

/// When something is to be done about lifetimes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// When `keep` has to look, at the latest.
    pub due: Option<Timestamp>,
    /// When the first resource is renewed.
    pub renewal: Option<Timestamp>,
    /// When the first resource runs out.
    pub expires: Option<Timestamp>,
}
