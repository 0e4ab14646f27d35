"""What is said of a run's verdicts as a whole: how much of the lock, under which bound, and where it does not hold."""

import json

import pytest
from support.sample_record import sample_record

from attnres_core.report.card import write_card
from attnres_core.report.html.page import render
from attnres_core.report.scope import bound, counted_once, is_exact, registered_decided, scope, unseen
from attnres_core.statistics.power import SPARSE, sparse_share, unseen_share


def claim(verdict="SUPPORTED", registration="registered", *, exact=False, n=256, alpha=0.05 / 128, name="x"):
    statement = {"exact": exact, "n": n, "unseen_share": None if exact else unseen_share(alpha, n)}
    statement |= {"sparse_share": None if exact else sparse_share(n)}
    statement |= {"column": name, "region": [0.02, None]}
    base = {"verdict": verdict, "registration": registration, "statements": [statement], "deciding": 0}
    return {**base, "split": "confirmation"}


def test_what_a_part_of_the_lock_leaves_out_is_told():
    """`-k` that shows two of ten claims says so."""
    assert (
        registered_decided([claim()] * 2, 10)
        == "2 of 10 registered claims (controls included) decided; 8 not in this run."
    )
    assert registered_decided([claim()] * 10, 10) == "10 of 10 registered claims (controls included) decided."


def test_claims_that_were_withdrawn_are_counted():
    assert registered_decided([claim()] * 5, 5, 5) == (
        "5 of 5 registered claims (controls included) decided; 5 withdrawn earlier."
    )


def test_what_became_of_registered_claims_that_are_not_decided_is_told():
    found = [claim(), claim("REFUTED", "post hoc"), claim("INCONCLUSIVE"), claim("NOT APPLICABLE"), claim("ERROR")]
    found += [claim(registration="exploratory"), claim(registration="quick"), claim("ERROR", None)]
    told = "2 of 6 registered claims (controls included) decided; 1 inconclusive, 1 not applicable, 1 error, 1 quick."
    assert registered_decided(found, 6) == told


def test_without_a_lock_nothing_is_confirmed():
    assert registered_decided([claim(registration="exploratory")], 0) == (
        "No claim is registered: nothing here confirms anything."
    )


def test_the_bound_names_how_many_claims_it_covers_and_what_it_does_not():
    found = [claim(), claim("REFUTED"), claim("INCONCLUSIVE"), claim("NOT APPLICABLE")]
    told = "The probability of any wrong verdict among 3 claims of this run is at most 0.05, nominally: "
    told += "long tails raise it."
    assert bound(found, 0.05) == told
    found += [claim(registration="post hoc"), claim(registration="exploratory"), claim(exact=True)]
    found += [claim(registration="post hoc", exact=True)]
    outside = "2 post hoc and 1 exploratory and 1 exact (decided by value: they hold no alpha)"
    assert bound(found, 0.05) == (f"{told} It does not cover {outside}.")


def test_a_run_of_exploratory_claims_alone_has_no_bound():
    found = [claim(registration="exploratory")]
    assert bound(found, 0.05) == "The bound on wrong verdicts covers no verdict here."
    assert unseen(found) == ""


@pytest.mark.parametrize(
    ("n", "share", "sparse"),
    [(256, "3 %", "8 %"), (512, "1.5 %", "4 %"), (64, "12 %", "30 %"), (16, "39 %", "100 %")],
)
def test_what_may_be_unseen_follows_from_alpha_and_n(n, share, sparse):
    """With .05/128 a claim, (1 - p)^n = .05/128; few carriers in the sample leave the level to luck."""
    assert (1 - unseen_share(0.05 / 128, n)) ** n == pytest.approx(0.05 / 128)
    assert SPARSE == 20
    told = unseen([claim(n=n), claim(exact=True)])
    assert told.startswith(f"{share} of prompts may be wholly unseen; the level is not kept for effects carried by ")
    assert told.endswith(f"fewer than about {sparse}.")


def test_where_claims_rest_on_different_numbers_of_documents_the_least_and_the_most_is_told():
    told = unseen([claim(n=64), claim(n=512), claim(n=256)])
    assert told.startswith("1.5 to 12 % (by the claim) of prompts may be wholly unseen;")
    assert told.endswith("fewer than about 4 to 30 % (by the claim).")


def test_a_claim_is_exact_when_all_its_statements_are():
    assert is_exact(claim(exact=True))
    assert not is_exact({"statements": [*claim()["statements"], *claim(exact=True)["statements"]]})
    assert not is_exact({"statements": []})


def test_a_refutation_that_only_repeats_a_support_is_counted_once():
    """x > .02, and |x| < .01 of the same column."""
    null = claim("REFUTED")
    null["statements"][0]["region"] = [-0.01, 0.01]
    words = "the opposite of a supported one about the same column: such a pair is one finding, not two."
    assert counted_once([claim(), null]) == f"1 refuted claim says {words}"
    assert counted_once([claim(), null, null]) == f"2 refuted claims say {words}"
    assert counted_once([claim(name="y"), null]) == ""


def test_page_and_card_are_headed_by_it(tmp_path):
    record = sample_record()
    record["settings"]["registrations"]["claims"] = 40
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    page, card = render(record), write_card(file).partition("**Method.**")[0]
    told = scope(record)
    assert "of 40 registered claims (controls included) decided; " in told[0]
    assert len(told) == 3
    assert told[0] in page.partition("<nav")[0]
    for text in told:
        assert text in page
        assert text in card
