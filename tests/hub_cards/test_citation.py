"""BibTeX from CITATION.cff."""

import pytest
import yaml

from hub_cards.citation import FILE, read_citation
from training.errors import UserError


def test_the_repository_is_citable():
    citation = read_citation(FILE)
    assert citation.arxiv == "2602.13633"
    assert citation.software.startswith("@software{zen_surgical,\n  title = {{ZEN")
    assert citation.article.startswith("@article{arxiv_2602_13633,")
    assert "author = {Park, Kanggil and Jeon, Yongjun and" in citation.article
    for entry in (citation.software, citation.article):
        assert entry.count("{") == entry.count("}")


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "CITATION.cff"
    with pytest.raises(UserError, match=r"CITATION.cff is missing"):
        read_citation(path)
    cff = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**cff, "references": []}))
    with pytest.raises(UserError, match="has no reference of type article"):
        read_citation(path)
    path.write_text(yaml.safe_dump({key: value for key, value in cff.items() if key != "version"}))
    with pytest.raises(UserError, match=r"CITATION.cff has no 'version'"):
        read_citation(path)
    cff["references"][0]["identifiers"] = [{"type": "doi", "value": "10.1/x"}]
    path.write_text(yaml.safe_dump(cff))
    with pytest.raises(UserError, match="no identifier that begins with arXiv:"):
        read_citation(path)


def test_a_title_cannot_leave_its_block(tmp_path):
    path = tmp_path / "CITATION.cff"
    cff = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**cff, "title": "one\n```\n<script>"}))
    assert "title = {{one ``` <script>}}," in read_citation(path).software
