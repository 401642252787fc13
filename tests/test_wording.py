"""Numbers and names as people read them: small exact cases, and what holds of any text."""

import html
import math
from html.parser import HTMLParser

import builders  # noqa: F401  (registers the hypothesis profile)
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kmstream.wording import (
    NOTHING,
    as_html,
    as_markdown,
    as_plot_text,
    as_sentence,
    by_size,
    count,
    higher_first,
    hundredths,
    moment,
    name_check,
    number,
    p_value,
    percent,
    points,
    shorten,
    signed,
    sort_names,
    tell_check,
    tell_log1p,
    tell_moves,
)

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])  # comes with rich
MARKUP = st.lists(
    st.sampled_from(
        [*"abc1\u00e9. \n!\\|$&'\"", "*", "**", "`", "```", "~~", "<b>", "</b>", "<!--", "&lt;", "[a](b)", "![", "]("]
    ),
    max_size=8,
).map("".join)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12) | MARKUP


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (math.nan, NOTHING),
        (math.inf, "infinite"),
        (-math.inf, "-infinite"),
        (False, "no"),
        (True, "yes"),
        ("0.50", "0.50"),
        (0, "0"),
        (-0.0, "0"),
        (1000, "1,000"),
        (-1234567.8, "-1,234,568"),
        (12.3456, "12.35"),
        (9.99996, "10"),
        (0.1, "0.1"),
        (1e-5, "0.00001"),
        (9.9e-6, "9.90e-06"),
        (1e14, "100,000,000,000,000"),
        (-1e15, "-1.00e+15"),
    ],
)
def test_number_is_written_for_people(value, text):
    assert number(value) == text


@given(st.floats(1e-5, 1e14), st.integers(1, 8))
def test_number_keeps_as_many_digits_as_asked_for(value, digits):
    text = number(value, digits)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits))
    assert number(-value, digits) == f"-{text}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.34, "+12.3"),
        (0.004, "+0.004"),
        (-0.5, "-0.5"),
        (0, "0"),
        (-0.0, "0"),
        (None, NOTHING),
        (math.nan, NOTHING),
        ("gone", "gone"),
    ],
)
def test_signed_has_a_sign_where_there_is_a_change(value, text):
    assert signed(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, NOTHING),
        (math.nan, NOTHING),
        (0.0, "0 %"),
        (1, "100 %"),
        (0.9999, "100.0 %"),  # not all
        (0.05, "5.0 %"),
        (0.01, "1.0 %"),
        (-0.5, "-50.0 %"),
        (0.001, "0.1 %"),
        (0.00099, "0.099 %"),
        (-0.00099, "-0.099 %"),
        (0.00012345, "0.012 %"),
    ],
)
def test_percent_has_one_decimal_or_more_where_it_is_tiny(share, text):
    assert percent(share) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "1"), (0.04567, "0.0457"), (0.0001, "0.0001"), (0.00009999, "< 0.0001"), (0.0, "< 0.0001"), (None, NOTHING)],
)
def test_p_value_has_no_digits_where_it_is_tiny(p, text):
    assert p_value(p) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (None, NOTHING),
        (math.nan, NOTHING),
        (0.5, "+50.0 points"),
        (-0.123, "-12.3 points"),
        (0.0006, "+0.1 points"),
        (0.0004, "0.0 points"),
        (-0.0004, "0.0 points"),
        (0.0, "0.0 points"),
    ],
)
def test_points_have_a_sign_unless_they_round_to_zero(difference, text):
    assert points(difference) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(("n", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12345, "12,345 files")])
def test_count_has_one_of_one_and_several_of_any_other(n, text):
    assert count(n, "file") == text


@pytest.mark.parametrize(
    ("created", "text"),
    [
        ("2011-06-30T04:12:55.123+00:00", "2011-06-30 04:12 UTC"),
        ("2011-06-30T04:12:55+02:00", "2011-06-30 04:12 UTC+02:00"),
        ("2011-06-30T04:12:55", "2011-06-30 04:12"),
        ("2011-06-30", "2011-06-30"),
        ("v000003", "v000003"),
        ("", ""),
    ],
)
def test_moment_is_a_time_to_the_minute_and_anything_else_as_it_is(created, text):
    assert moment(created) == text


# --- sentences -------------------------------------------------------------------------------------------------------


def test_as_sentence_changes_the_first_letter_alone():
    assert [as_sentence(text) for text in ("a B c.", "B", "", "\u00e9tat")] == ["A B c.", "B", "", "\u00c9tat"]


def make_entities(compared, moves, moved, **keys):
    return {"key": "id", "compared": compared, "moves": moves, "entities_moved": moved} | keys


@pytest.mark.parametrize(
    ("entities", "text"),
    [
        (make_entities(0, 0, 0), "No entity (id) was seen twice."),
        (
            make_entities(1, 0, 0),
            "Entities (id) were seen again 1 time, always in the same segment as the time before.",
        ),
        (
            make_entities(4000, 1200, 1100),
            "Entities (id) were seen again 4,000 times; 1,200 of these times (30.0\u00a0%) in another segment than the "
            "time before. Entities that moved: 1,100.",
        ),
    ],
)
def test_tell_moves_says_how_often_segments_changed_and_which_files_are_left_out(entities, text):
    assert tell_moves(entities) == tell_moves(entities | {"earlier_files_left_out": 0}) == text
    told = tell_moves(entities | {"earlier_files_left_out": 2})
    assert told == f"{text} Left out: 2 earlier files without that key as it is now."


def test_tell_log1p_names_the_features():
    assert tell_log1p(["a", "b"]).startswith("Under log1p (a, b) an average is a typical value: ")


def test_name_check_reads_as_words():
    assert name_check({"check": "smallest_share"}) == "smallest share"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"check": "inertia", "observed": 1.25, "limit": 1.1}, "inertia is 1.25, the limit is 1.1"),
        (
            {"check": "smallest_share", "observed": 0.00123456, "limit": 0.01, "label": "vip"},
            "smallest share of vip is 0.001235, the limit is 0.01",
        ),
        ({"check": "inertia", "observed": None, "limit": 1, "label": None}, "inertia is \u2013, the limit is 1"),
    ],
)
def test_tell_check_sets_what_was_found_beside_the_limit(check, text):
    assert tell_check(check) == tell_check(check, ["a"], ["b"]) == text


@pytest.mark.parametrize(
    ("gone", "new", "text"),
    [
        ("a", "", "names are frozen, but a is gone"),
        ("", "ba", "names are frozen, but a and b are new"),
        ("cab", "d", "names are frozen, but a, b and c are gone, d is new"),
        ("", "", "frozen names missing or added is 3, the limit is 0"),
    ],
)
def test_tell_check_of_frozen_names_names_them_in_order(gone, new, text):
    check = {"check": "frozen_names_missing_or_added", "observed": 3, "limit": 0}
    assert tell_check(check, iter(gone), iter(new)) == text


@pytest.mark.parametrize(("higher", "pair"), [("a", ("a", "b")), ("b", ("b", "a"))])
def test_higher_first_begins_with_the_higher_mean(higher, pair):
    assert higher_first({"cluster_label": "a", "other_label": "b", "higher": higher}) == pair


def test_by_size_puts_the_largest_segment_first_and_keeps_the_order_of_equal_ones():
    segments = [{"name": name, "rows": rows} for name, rows in (("a", 5), ("b", 90), ("c", 5), ("d", 20))]
    assert [segment["name"] for segment in by_size(iter(segments))] == ["b", "d", "a", "c"]


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**6), unique=True), st.sampled_from(["segment-", "", "a1 b"]))
def test_sort_names_takes_numbers_by_their_size(numbers, before):
    names = [f"{before}{n}" for n in numbers]
    assert sort_names(names) == [f"{before}{n}" for n in sorted(numbers)]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Nd", "No", "Cs"]) | st.sampled_from("0123456789"), max_size=9))
)
def test_sort_names_loses_no_name_and_does_not_depend_on_their_order(names):
    found = sort_names(names)
    assert sorted(found) == sorted(names)
    folded = [name.casefold() for name in found]
    assert folded == [name.casefold() for name in sort_names(reversed(names))]


@pytest.mark.parametrize("name", ["\u00b2", "\u0663"])
def test_sort_names_takes_other_digits_for_letters(name):
    assert sort_names([name, "a"]) == ["a", name]


def test_sort_names_does_not_care_for_upper_and_lower_case():
    assert sort_names(["b2", "A10", "B1", "a9"]) == ["a9", "A10", "B1", "b2"]


@given(st.text(), st.integers(1, 12))
def test_shorten_keeps_what_fits_and_the_beginning_of_what_does_not(name, length):
    short = shorten(name, length)
    assert short == name if len(name) <= length else short == name[: length - 1] + "\u2026"
    assert len(short) == min(len(name), length)


# --- markup ----------------------------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """What a browser makes of HTML: its tags with attributes, and its text."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.tags.append(("!--", data))


@given(TEXTS)
def test_as_html_lets_no_markup_through_in_a_text_or_an_attribute(text):
    seen = Seen(f"<p title=\"{as_html(text)}\" lang='{as_html(text)}'>{as_html(text)}")
    assert seen.tags == [("p", {"title": text, "lang": text})]
    assert seen.text == text


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (None, "None"), ("\"a\" & 'b'", "&quot;a&quot; &amp; &#x27;b&#x27;")]
)
def test_as_html_takes_any_value(value, text):
    assert as_html(value) == text


@given(TEXTS, st.integers(1, 12))
def test_as_plot_text_lets_no_markup_through_and_counts_the_letters_that_are_seen(name, length):
    text = as_plot_text(name, length)
    assert Seen(text).tags == []
    assert html.unescape(text) == shorten(name, length)


def test_as_plot_text_leaves_quotes_as_they_are():
    assert as_plot_text("\"a\" 'b'", 60) == "\"a\" 'b'"


@given(TEXTS)
@example("a_b _c_ d_")
@example("a\\| b")
def test_as_markdown_lets_no_markup_through_in_a_cell_of_a_table(text):
    lines = MARKDOWN.render(f"| {as_markdown(text)} | x |\n| - | - |").splitlines()
    seen = Seen(lines[3])
    assert (seen.tags, seen.text, lines[4]) == ([("th", {})], " ".join(text.split()), "<th>x</th>")


def test_as_markdown_lets_no_two_underscores_through():
    assert MARKDOWN.renderInline(as_markdown("__a__")) == "__a__"


def test_as_markdown_puts_a_backslash_before_every_letter_that_may_be_markup():
    assert as_markdown("\\`*[]|~$") == "\\\\\\`\\*\\[\\]\\|\\~\\$"


def test_as_markdown_leaves_words_readable():
    assert as_markdown(" recency_days\n (2), 5 %. ") == "recency_days (2), 5 %."
    assert as_markdown(None) == "None"
    assert as_markdown("the \"big\" 'ones'") == "the \"big\" 'ones'"


def test_hundredths_are_two_digits_after_the_point():
    assert [hundredths(value) for value in (None, 0.316, -1.0, 1234.5)] == [NOTHING, "0.32", "-1.00", "1,234.50"]
