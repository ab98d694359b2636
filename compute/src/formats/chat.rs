//! Chat templates: a conversation as the token ids that a model was taught.
//!
//! A template is a program in Jinja that comes with a model, thus from anybody. It runs on a budget of
//! steps and bytes and knows nothing but the conversation.
//!
//! What people say is never a control token, however they write it: the texts that go into the template
//! are marked where they begin and end and inside of whatever reads like a control token, so that in
//! what comes out only the template's own letters can make one. The marks are characters that Unicode
//! keeps for such uses and that occur neither in the conversation nor in the template.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use super::tokenizer::{Tokenizer, TokenizerError};

/// The longest template.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 16;
/// The most messages of one conversation.
pub const MAX_MESSAGES: usize = 4096;
/// The most bytes that all messages of a conversation may have.
pub const MAX_CHAT_BYTES: usize = 16 << 20;
/// Steps of a template; one also pays for 64 bytes.
const STEPS: u64 = 200_000;
/// Who may speak.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// What somebody said in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said; never read as control tokens.
    pub content: String,
}

/// A model's way of writing conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
}

/// Why a conversation has no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The template is too long.
    #[error("the chat template has {0} bytes; at most {MAX_TEMPLATE_BYTES} are read")]
    TooLarge(usize),
    /// The template is not Jinja.
    #[error("the chat template cannot be read: {reason}")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
    /// Nobody said anything.
    #[error("the conversation has no message")]
    Empty,
    /// The conversation is too long.
    #[error(
        "the conversation has {messages} messages of {bytes} bytes; at most {MAX_MESSAGES} of {MAX_CHAT_BYTES} are read"
    )]
    TooLong {
        /// Messages of the conversation.
        messages: usize,
        /// Bytes of all of them.
        bytes: usize,
    },
    /// Nobody has that role.
    #[error("a message's role is {0:?}; it must be system, user, assistant or tool")]
    Role(String),
    /// The template used up its steps: it loops, or makes far more than it is given.
    #[error("the chat template does not come to an end within its steps")]
    Endless,
    /// The template refused the conversation or failed.
    #[error("the chat template refuses the conversation: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The conversation holds every character that texts can be marked with.
    #[error("the conversation holds all of the noncharacters U+FDD0 to U+FDEF; leave one out")]
    Unmarkable,
    /// The result could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl ChatTemplate {
    /// Checks a template.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(ChatError::TooLarge(source.len()));
        }
        let syntax = |error: Error| ChatError::Syntax { reason: error.to_string() };
        environment(0).template_from_str(source).map_err(syntax)?;
        Ok(Self { source: source.to_owned() })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The token ids of a conversation; with `answer`, up to where the model's answer begins.
    /// `begin` and `end` are the control tokens that the template may name `bos_token` and `eos_token`.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        answer: bool,
        [begin, end]: [Option<u32>; 2],
    ) -> Result<Vec<u32>, ChatError> {
        let bytes = messages.iter().map(|message| message.content.len()).sum();
        if messages.is_empty() {
            return Err(ChatError::Empty);
        }
        if messages.len() > MAX_MESSAGES || bytes > MAX_CHAT_BYTES {
            return Err(ChatError::TooLong { messages: messages.len(), bytes });
        }
        let is_known = |message: &&Message| ROLES.contains(&message.role.as_str());
        if let Some(stranger) = messages.iter().find(|message| !is_known(message)) {
            return Err(ChatError::Role(stranger.role.chars().take(32).collect()));
        }
        let mark = self.mark(messages).ok_or(ChatError::Unmarkable)?;
        let controls = Controls::of(tokenizer);
        let said: Vec<Value> = messages
            .iter()
            .map(|Message { role, content }| {
                context! { role => role, content => controls.marked(content, mark) }
            })
            .collect();
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.control().get(&id)).cloned();
        let context = context! {
            messages => said,
            add_generation_prompt => answer,
            bos_token => name(begin).unwrap_or_default(),
            eos_token => name(end).unwrap_or_default(),
        };
        // Enough to copy everything that was said some dozens of times.
        let steps = STEPS + 256 * messages.len() as u64 + bytes as u64;
        let rendered = environment(steps).render_str(&self.source, context).map_err(refused)?;
        controls.tokens(tokenizer, &rendered, mark)
    }

    /// A character that occurs nowhere.
    fn mark(&self, messages: &[Message]) -> Option<char> {
        let texts = || messages.iter().map(|m| m.content.as_str()).chain([self.source.as_str()]);
        ('\u{fdd0}'..='\u{fdef}').find(|mark| !texts().any(|text| text.contains(*mark)))
    }
}

fn refused(error: Error) -> ChatError {
    match error.kind() {
        ErrorKind::OutOfFuel => ChatError::Endless,
        _ => ChatError::Refused { reason: error.to_string() },
    }
}

/// Where templates run: as `transformers` sets Jinja up, with a budget.
fn environment(steps: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(steps));
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters differ from each other"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, reason))
    });
    environment
}

/// The texts of control tokens.
struct Controls<'a> {
    /// The longest first.
    texts: Vec<(&'a str, u32)>,
    /// Whether one begins with that byte, in whatever case.
    begins: [bool; 256],
}

impl<'a> Controls<'a> {
    fn of(tokenizer: &'a Tokenizer) -> Self {
        // Of a single character there is no inside to mark; and what begins or ends with a space could
        // be put together from a text's edge.
        let is_safe = |text: &str| text.chars().nth(1).is_some() && text.trim() == text;
        let texts = tokenizer.control().iter().map(|(id, text)| (text.as_str(), *id));
        let mut controls: Vec<_> = texts.filter(|(text, _)| is_safe(text)).collect();
        controls.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let mut begins = [false; 256];
        for byte in controls.iter().map(|(text, _)| text.as_bytes()[0]) {
            begins[usize::from(byte.to_ascii_lowercase())] = true;
            begins[usize::from(byte.to_ascii_uppercase())] = true;
        }
        Self { texts: controls, begins }
    }

    /// The first of them, by length, that `is_there`; `from` is where it would stand.
    fn find(&self, from: &str, is_there: impl Fn(&str) -> bool) -> Option<(&'a str, u32)> {
        let first = from.as_bytes().first().filter(|byte| self.begins[usize::from(**byte)]);
        first.and_then(|_| self.texts.iter().find(|(text, _)| is_there(text)).copied())
    }

    /// What somebody said, marked. Spaces at both ends stay outside, where templates trim them.
    fn marked(&self, text: &str, mark: char) -> String {
        let core = text.trim();
        if core.is_empty() {
            return text.to_owned();
        }
        let begin = text.len() - text.trim_start().len();
        let mut marked = String::with_capacity(text.len() + 8);
        marked.push_str(&text[..begin]);
        marked.push(mark);
        for (at, letter) in core.char_indices() {
            marked.push(letter);
            // In whatever case, since templates may change it.
            let rest = &core[at..];
            let reads = |control: &str| {
                rest.get(..control.len()).is_some_and(|text| text.eq_ignore_ascii_case(control))
            };
            if self.find(rest, reads).is_some() {
                marked.push(mark);
            }
        }
        marked.push(mark);
        marked.push_str(&text[begin + core.len()..]);
        marked
    }

    /// The ids of a rendered conversation: control tokens where the template wrote them, text between.
    fn tokens(
        &self,
        tokenizer: &Tokenizer,
        rendered: &str,
        mark: char,
    ) -> Result<Vec<u32>, ChatError> {
        let mut ids = Vec::new();
        let mut plain = String::new();
        let mut rest = rendered;
        while let Some(letter) = rest.chars().next() {
            if let Some((control, id)) = self.find(rest, |text| rest.starts_with(text)) {
                ids.extend(tokenizer.encode(&plain)?);
                plain.clear();
                ids.push(id);
                rest = &rest[control.len()..];
            } else {
                if letter != mark {
                    plain.push(letter);
                }
                rest = &rest[letter.len_utf8()..];
            }
        }
        ids.extend(tokenizer.encode(&plain)?);
        Ok(ids)
    }
}
