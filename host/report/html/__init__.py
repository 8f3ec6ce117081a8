"""report.html: what a run found, as one page that needs nothing else.

`write_html` is the whole interface. `page` joins the parts: `view` is everything that the template
prints, as types, made of the sentences and numbers of `headline`, `notes`, `charts`, `rates`,
`splits`, `what_if`, `checks` and `facts`; `payload` is the data that the scripts draw, `layout` the
rows of the model graph, `labels` the names and colours that the other pictures share.

Why Jinja2 and scripts of our own, not a charting library: plotly.min.js alone is 4.8 MB, slow to
start on a phone, has no picture for a graph of operators, and Bokeh and Vega have the same bounds.
This page is below 1 MB for twelve layers, its bars are plain HTML (readable without scripts, on
paper and at any width), and every text from a model reaches the document through Jinja2's escaping
or as `textContent`. A content security policy in the page forbids network access and every script
but the one written here, whatever a model calls its operators.
"""

from pimloop.host.report.html.page import write_html

__all__ = ["write_html"]
