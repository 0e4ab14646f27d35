"""A record's claims as a LaTeX table: nothing that stands in it is read as a command."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sample_record import sample_record

from attnres_core.__main__ import main
from attnres_core.report.latex import escaped, write_latex

HOSTILE = r"\input{/etc/passwd} $x$ 100% #1 a_b^c ~ {d} & \\"
COMMAND = re.compile(r"\\[a-zA-Z]+")
OURS = {r"\textbackslash", r"\textasciitilde", r"\textasciicircum", r"\times", r"\pm", r"\infty", r"\dots"}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps(sample_record()))
    return file


def test_a_row_a_claim_between_booktabs_rules(file):
    table = write_latex(file)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    own = [claim for claim in sample_record()["claims"] if not claim["control"]]
    assert len(rows) == 1 + len(own)
    assert {row.count(" & ") for row in rows} == {4}
    numbers = r"SUPPORTED & +1.83 nats/token & {[}+1.72, +1.94{]} & $>$ 0.02 \\"
    assert rf"Embedding source is necessary for early MLP & {numbers}" in rows
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"% needs \usepackage{booktabs}"):
        assert command in table
    assert "registered claims (controls included) decided" in table
    assert "$<$ 10$^{-6}$" in table


@given(st.text())
def test_no_text_becomes_a_command_a_comment_or_a_cell(text):
    told = escaped(text)
    assert set(COMMAND.findall(told)) <= OURS
    bare = re.sub(r"\$\^{[0-9-]+}\$|\\[&%$#_{}]", "", told)
    assert not set(bare) & set("&%#_~")
    assert bare.count("$") % 2 == 0
    assert "\n" not in told


def test_a_hostile_title_stays_a_title(file):
    record = sample_record()
    record["claims"][0]["title"] = HOSTILE
    file.write_text(json.dumps(record))
    table = write_latex(file)
    assert r"\input" not in table
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ 100\% \#1 a\_b\textasciicircum{}c" in table


def test_the_command(file, capsys):
    main(["card", str(file), "--format", "latex", "-k", "embedding source is necessary"])
    told = capsys.readouterr().out
    assert told.count(r" \\") == 2
    assert "Shown: 1 claim." in told
