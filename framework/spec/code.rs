//! The kinds of mistakes: stable codes, each with its severity and its page.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The spec cannot be run.
    Error,
    /// The spec runs, and probably does not do what was meant.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal $severity:ident,)+) => {
        /// The kinds of mistakes. A code never changes its meaning and is never used again for another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// As it is printed.
            pub fn id(self) -> &'static str {
                match self { $(Code::$name => $id,)+ }
            }

            /// What it says, one sentence without a full stop.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+).trim().trim_end_matches('.'),)+ }
            }

            /// Its page: why it is a mistake, a bad and a good example.
            pub(super) fn page(self) -> &'static str {
                match self { $(Code::$name => include_str!(concat!("codes/", $id, ".md")),)+ }
            }

            /// The code of this name.
            pub fn from_id(id: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.id() == id)
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// The file cannot be read, or is larger than a spec may be.
    Unreadable = "FB101" Error,
    /// The text is no YAML.
    Syntax = "FB102" Error,
    /// A map has the same key twice.
    DuplicateKey = "FB103" Error,
    /// Too deep, or its aliases stand for too much.
    TooLarge = "FB104" Error,
    /// A key or value that YAML has and the language has not: maps as keys, tags, several documents.
    Foreign = "FB105" Error,

    /// A key the language does not know at this place.
    UnknownKey = "FB201" Error,
    /// A key that must be there is not.
    MissingKey = "FB202" Error,
    /// A value of another type.
    WrongType = "FB203" Error,
    /// A value that is not one of those that stand to choice.
    NotInList = "FB204" Error,
    /// Two keys that cannot stand together.
    Exclusive = "FB205" Error,
    /// Too few, too many, too small, too large.
    OutOfBounds = "FB206" Error,
    /// A text that is not written as it must be.
    Malformed = "FB207" Error,

    /// A template that cannot be parsed.
    TemplateSyntax = "FB301" Error,
    /// An expression that cannot be parsed.
    ExpressionSyntax = "FB302" Error,
    /// Braces in a key that takes a bare expression.
    Braces = "FB303" Error,
    /// A name that exists nowhere.
    UnknownName = "FB304" Error,
    /// A setting, secret, var, auth, resource or saved value that the spec does not define.
    Undefined = "FB305" Error,
    /// A name that exists, but not at this place of the life.
    NotHere = "FB306" Error,
    /// Vars that need each other.
    Cycle = "FB307" Error,
    /// A value that can never be what stands beside it, or that its place cannot take.
    WrongKind = "FB308" Error,

    /// A JSON Pointer that cannot be one.
    BadPointer = "FB401" Error,
    /// A URL that cannot be called.
    BadUrl = "FB402" Error,
    /// A duration that cannot be one.
    BadDuration = "FB403" Error,
    /// A regular expression that cannot be one.
    BadRegex = "FB404" Error,
    /// A status that HTTP does not have.
    BadStatus = "FB405" Error,
    /// A header name that HTTP does not take.
    BadHeader = "FB406" Error,
    /// A schema that is no JSON Schema.
    BadSchema = "FB407" Error,
    /// Another file of the connector is missing or cannot be read.
    BadFile = "FB408" Error,
    /// A sample that does not fit the spec.
    BadSample = "FB409" Error,
    /// A value that does not fit its own setting: a default outside the enum.
    BadDefault = "FB410" Error,
    /// The name is not the folder's.
    BadName = "FB411" Error,
    /// A case that does not fit the connector.
    BadCase = "FB412" Error,

    /// A secret that would stand in a URL.
    SecretInUrl = "FB501" Error,
    /// A verification that lets anybody in.
    OpenDoor = "FB502" Error,
    /// A resource that is made and cannot be found or removed again.
    Orphan = "FB503" Error,
    /// A timestamp that is checked and not signed.
    UnsignedTime = "FB504" Warning,
    /// The choice of an auth and the names under `auth` differ.
    AuthChoice = "FB505" Error,
    /// Words about a setting or secret that contradict each other.
    Contradiction = "FB506" Error,
    /// A condition that its own examples disprove.
    Disproved = "FB507" Error,
    /// A signature that is as good from any other customer of the vendor.
    AnyCustomer = "FB508" Warning,
    /// A rule that no request gets to, or that does nothing.
    Unreached = "FB509" Error,
    /// Something that is defined or kept, and used by nothing.
    Unused = "FB510" Warning,
    /// A secret that would reach a log, an id, an answer, or a host that is not declared for it.
    SecretAstray = "FB511" Error,
    /// An answer after which the sender gives up what it brought.
    GivesUp = "FB512" Warning,
    /// An answer that may be slower than the sender waits.
    TooSlow = "FB513" Warning,
    /// A rule that ends a request whose other items would be lost.
    EndsOthers = "FB515" Warning,
    /// An id that does not tell one event from the next.
    SameForAll = "FB516" Warning,
    /// Permissions that are asked for and not needed, or needed and not listed.
    Scopes = "FB514" Warning,

    /// Part of the language that this version cannot run yet.
    NotBuilt = "FB601" Error,
    /// A comment that allows a warning and does not say which, or why.
    AllowedUnsaid = "FB701" Warning,
    /// A comment that allows a code which does not exist.
    AllowedUnknown = "FB702" Warning,
    /// A comment that allows what is not there.
    AllowedNothing = "FB703" Warning,
    /// A comment that would allow an error.
    AllowedError = "FB704" Warning,

    /// The language's definition and its compiler disagree: a fault of ours.
    Ours = "FB901" Error,
}
