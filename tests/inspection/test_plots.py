"""Plots are whole SVG files that a browser draws by themselves."""

from xml.etree import ElementTree

import pytest
from numpy.random import default_rng

from autopeft.errors import StudyError
from autopeft.inspection import inspect_adapter
from autopeft.inspection.plots import write_plots
from tests.inspection.test_inspect import random_pair, write

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_each_kind_of_module_has_a_curve(tmp_path):
    """Spectra, entanglement and norms: a curve per kind of module with a point per direction, cut and layer."""
    pairs = {(i, kind): random_pair(default_rng(i)) for i in range(3) for kind in ("q_proj", "v_proj")}
    report = inspect_adapter(write(tmp_path / "a", pairs))
    files = write_plots(report, tmp_path / "plots")
    assert [file.name for file in files] == ["spectra.svg", "entanglement.svg", "norms.svg"]
    for file, points in zip(files, (4, 10, 3), strict=True):  # rank 4; 24 × 40 are 5 + 6 bits; three layers
        root = ElementTree.parse(file).getroot()
        panels = root.findall(f"{NAMESPACE}g")
        assert [panel.findtext(f"{NAMESPACE}text") for panel in panels] == ["self_attn.q_proj", "self_attn.v_proj"]
        for panel in panels:
            curves = {line.attrib["class"]: line for line in panel.iter(f"{NAMESPACE}polyline")}
            assert [len(line.attrib["points"].split()) for line in curves.values()] == [points, points]
            assert curves["curve strong"].findtext(f"{NAMESPACE}title") == panel.findtext(f"{NAMESPACE}text")
        assert root.find(f"{NAMESPACE}style") is not None
    with pytest.raises(StudyError, match=r"spectra\.svg exists already"):
        write_plots(report, tmp_path / "plots")
