"""How to reproduce the run: its command and its versions."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values
from fedlearn.runs.result import Result

_TEMPLATE = """
{% if result.engine == "sites" %}
<p>The records stay at the sites, so this run cannot be repeated from its folder alone. Its <code>experiment.toml</code>
has every setting; a simulation of the same settings on other records is:</p>
<pre><code>fedlearn simulate experiment.toml</code></pre>
{% else %}
<p>In the folder of this report, <code>experiment.toml</code> has every setting:</p>
<pre><code>fedlearn simulate experiment.toml --engine {{ result.engine }} --out again</code></pre>
{% endif %}
<p>{{ repeatability }}</p>
<dl class="facts">
<dt>Python</dt><dd>{{ result.manifest.python }} on {{ result.manifest.platform }}</dd>
{% for package, version in result.manifest.versions.items() %}<dt>{{ package }}</dt><dd>{{ version }}</dd>
{% endfor %}
<dt>Source</dt><dd>{% if result.manifest.git_revision %}git revision {{ result.manifest.git_revision }}{% else %}not under git{% endif %}</dd>
</dl>
"""


def _values(material: Material) -> Values:
    return {"repeatability": _repeatability(material.result)}


def _repeatability(result: Result) -> str:
    if result.privacy and not result.manifest.reproducible_noise:
        return (
            "The noise comes from the operating system and cannot be drawn again: another run gives other "
            "numbers, close to these."
        )
    return "The same versions, seed and machine give the same numbers."


SECTION = Section(key="again", title="How to reproduce it", template=_TEMPLATE, values=_values)
