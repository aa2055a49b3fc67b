"""``report.html``: what a run gave, for people. One page that loads nothing and runs no script.

A page is made of sections (:mod:`fedlearn.runs.report.sections`), each one file: a template for jinja2
with autoescaping and the function that fills it from the :class:`Material`. Templates are Python
strings, because the package must work where only its ``.py`` files are.
"""

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.page import report_page

__all__ = ["Material", "report_page"]
