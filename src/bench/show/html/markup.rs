//! Tags and text: HTML that is XML as well, so that any parser can check it.

use std::fmt::{Display, Write};

use crate::bench::show::label::harmless;

/// Names and values of a tag's attributes.
pub(super) type Attributes<'a> = &'a [(&'a str, &'a dyn Display)];

/// A document that grows at its end.
#[derive(Debug, Default)]
pub(super) struct Markup {
    written: String,
}

impl Markup {
    /// A tag around whatever `inside` writes.
    pub(super) fn element(
        &mut self,
        tag: &str,
        with: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.begin(tag, with);
        self.written.push('>');
        inside(self);
        self.put(format_args!("</{tag}>"));
    }

    /// A tag around text.
    pub(super) fn line(&mut self, tag: &str, with: Attributes<'_>, text: impl Display) {
        self.element(tag, with, |inside| inside.text(text));
    }

    /// A tag around nothing.
    pub(super) fn empty(&mut self, tag: &str, with: Attributes<'_>) {
        self.begin(tag, with);
        self.written.push_str("/>");
    }

    /// Text, escaped: it may come from a file or a server.
    pub(super) fn text(&mut self, text: impl Display) {
        for c in harmless(&text.to_string()).chars() {
            match c {
                '&' => self.written.push_str("&amp;"),
                '<' => self.written.push_str("&lt;"),
                '>' => self.written.push_str("&gt;"),
                '"' => self.written.push_str("&quot;"),
                '\'' => self.written.push_str("&#39;"),
                c => self.written.push(c),
            }
        }
    }

    /// What is ours, as it is.
    pub(super) fn raw(&mut self, ours: &'static str) {
        self.written.push_str(ours);
    }

    /// The whole document.
    pub(super) fn finish(self) -> String {
        self.written
    }

    fn begin(&mut self, tag: &str, with: Attributes<'_>) {
        self.put(format_args!("\n<{tag}"));
        for (name, value) in with {
            self.put(format_args!(" {name}=\""));
            self.text(value);
            self.written.push('"');
        }
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        self.written
            .write_fmt(what)
            .expect("a string takes everything");
    }
}

/// A coordinate: a tenth of a pixel is finer than the eye.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub(super) f64);

impl Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_tags_are_closed() {
        let mut page = Markup::default();
        page.element("p", &[("title", &"\"><script>'&")], |page| {
            page.text("<script>alert(1)</script>\u{1b}[2J\0\u{202e}\u{ffff}");
            page.empty("br", &[("x", &At(1.26))]);
        });
        assert_eq!(
            page.finish(),
            "\n<p title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\n<br x=\"1.3\"/></p>"
        );
    }
}
