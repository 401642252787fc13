"""The page's section about what separates the segments."""

import numpy as np
from builders import make_features, make_scaling, summarise_segments
from pages import write_page
from report_content import REFRESH_RUN, make_refresh

from kmstream.segment_profile import tell_separation


def test_page_shows_what_separates_the_segments_with_a_bar_each(tmp_path):
    rng = np.random.default_rng(0)
    summary = summarise_segments(*(rng.normal(size=(50, 2)) + center for center in ([0, 0], [5, 0.1], [9, -0.1])))
    features = make_features(("<b>a</b>", "b"))
    told = tell_separation(summary, ["one", "two", "<i>"], features, make_scaling(2))
    page = write_page(tmp_path / "page.html", make_refresh(profile=told), REFRESH_RUN)
    first = told["features"][0]
    assert f'<b style="width:{100 * first["eta_squared"]:.1f}%"></b></span>{first["eta_squared"]:.2f}' in page.source
    assert "<b>a</b>" in page.text
    assert "<i>" in page.text
    for text in ("What separates the segments", "Pairs hardest to tell apart", "2 and 147 degrees of freedom"):
        assert text in page.text


def test_page_of_a_run_without_a_profile_has_no_such_section(tmp_path):
    assert "What separates" not in write_page(tmp_path / "page.html", make_refresh(), REFRESH_RUN).text
