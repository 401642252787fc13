"""The page of a run in a real browser: what is drawn, and names with HTML in them as text."""

import html
import re
from dataclasses import replace

import numpy as np
import pytest
from builders import look_at_rows, make_blobs, make_view_model
from pages import browse_page, write_page
from report_content import (
    HOSTILE,
    REFRESH_RUN,
    make_first,
    make_history,
    make_hostile,
    make_sample,
)

pytestmark = pytest.mark.slow


def look_at_hostile():
    """What sampled rows show of segments, features and categories with HTML in their names; the third one ended."""
    X, ids = make_blobs([[-4.0, 0.0], [4.0, 1.0]], 100)
    columns = {HOSTILE[2]: X[:, 0], HOSTILE[1]: X[:, 1], "c0": np.random.default_rng(0).choice(HOSTILE, 200).tolist()}
    labels = np.array(HOSTILE[:2], dtype=object)[ids]
    model = make_view_model((HOSTILE[2], HOSTILE[1]), (tuple(sorted(HOSTILE)),))
    seen = look_at_rows(columns, labels.tolist(), model=model, then={HOSTILE[0]: np.zeros(5), HOSTILE[2]: np.ones(5)})
    return seen | {"silhouette": {"overall": 0.4, "segments": {HOSTILE[0]: 0.5, HOSTILE[1]: 0.3}}}


def test_browser_draws_every_plot_and_shows_names_with_html_as_text(tmp_path):
    run = replace(
        REFRESH_RUN,
        name=HOSTILE[0],
        run_id=HOSTILE[1],
        provenance={HOSTILE[0]: HOSTILE[1]},
        sample=look_at_hostile(),
        history=make_history(4, HOSTILE[:2]),
    )
    samples = make_sample(1200, 1, HOSTILE), make_sample(300, 3, HOSTILE)
    write_page(tmp_path / "page.html", make_hostile(), run, samples=samples)
    page = browse_page(tmp_path / "page.html", tmp_path / "profile")
    # Shares, shifts, history, map, silhouettes, two of each number, one of the category, migration, fit.
    assert page.count_plots() == 12
    assert "4 columns drifted, by evidently's limits" in page.text
    assert "Wasserstein distance (normed)" in page.text
    assert page.count("img") == 0
    assert "owned" not in page.text.replace("document.title='owned'", "")
    for name in HOSTILE:
        assert page.text.count(" ".join(name.split())) >= 4  # and in evidently's table
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", page.source)
    assert not [text for text in drawn if "font-weight" in text]  # plotly takes <b> for bold
    gold = [text for text in drawn if "<b>gold" in html.unescape(text)]
    assert len(gold) >= 5  # two rows, a flow, an axis of the map, a centroid, a category
    assert re.search(r'class="ytick"><text[^>]*>&lt;b&gt;gold&lt;/b&gt;', page.source)
    assert re.search(r'class="annotation-text"[^>]*>&lt;b&gt;gold&lt;/b&gt;', page.source)


def test_browser_draws_a_first_version_without_samples_to_compare(tmp_path):
    write_page(tmp_path / "page.html", make_first(), REFRESH_RUN, samples=(None, make_sample(300, 1)))
    assert browse_page(tmp_path / "page.html", tmp_path / "profile").count_plots() == 2  # shares, fit
