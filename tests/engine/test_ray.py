"""A Ray cluster of several nodes, simulated on this machine: it yields what one process yields, and survives faults."""

import contextlib
import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.fire import LOGGING, command, held, written
from support.small_suite import CLAIMS, record_of

import attnres_core as ac
from attnres_core.engine import store_maintenance
from attnres_core.engine.executors import choose, open_executor, ray_driver
from attnres_core.engine.executors.ray_cluster import check_answers
from attnres_core.engine.executors.ray_driver import ClusterWarning
from attnres_core.engine.resources import LIBRARIES, NARROW, Asked, Need, Resources
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.exploration.pathway_map import map_quantities
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.planning import material as planning
from attnres_core.planning.bundles import make_bundles
from attnres_core.planning.material import Material, fitting_of, reference_of
from attnres_core.prompts import Split, load_prompts
from attnres_core.quantities.ablations import FIT_STEPS
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.vocabulary import Role

pytest.importorskip("ray", reason="ray is not installed: pip install ray")
pytestmark = pytest.mark.filterwarnings("ignore:::ray", "ignore::ResourceWarning", "ignore::DeprecationWarning")

OBJECT_STORE = 80 * 2**20
OTHER_TORCH = """
import importlib.metadata

real = importlib.metadata.version
importlib.metadata.version = lambda name: "1.0.0" if name == "torch" else real(name)
"""


TWO_GPUS = f"""
import sys

if any("default_worker" in word for word in sys.orig_argv):
    import torch

    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from support.pretended_devices import PretendedDevices

    torch.cuda.device_count = lambda: 2
    torch.cuda.mem_get_info = lambda device: (2**40, 2**40)
    PretendedDevices("cuda:0", "cuda:1").__enter__()
"""
ASKING = """
    from attnres_core.engine.executors import ray_cluster

    has_gpus = ray_cluster._has_gpus
    def _has_gpus(address):
        with (Path(__file__).parent / "asked.log").open("a") as log:
            log.write("asked\\n")
        return has_gpus(address)
    ray_cluster._has_gpus = _has_gpus
"""
"""A conftest.py that logs how often the cluster is asked for GPUs."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that computes nothing, and two nodes of one process each; their object stores are as small as can be."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_health_check_period_ms", "500")
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def more(cluster):
    """Adds a node for one test."""
    added = []

    def add(**given):
        added.append(cluster.add_node(num_cpus=1, **given))
        return added[-1]

    yield add
    for node in added:
        with contextlib.suppress(Exception):  # (the test removed it)
            cluster.remove_node(node)


@pytest.fixture
def starting(tmp_path):
    """The environment of a node whose processes run this first."""

    def made(code):
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "first"), *sys.path])}

    return made


@pytest.fixture
def checkpoint(micro):
    return inspect_checkpoint(micro / "trained")


@pytest.fixture
def material(micro):
    """The exploration prompts, read by a checkpoint."""
    prompts = load_prompts(micro / "prompts.jsonl")
    parts = {Split.EXPLORATION: prompts.part(Split.EXPLORATION)}
    given = "cpu", "float32", reference_of(prompts), fitting_of(prompts)
    return lambda checkpoint: Material({Role.TRAINED: checkpoint}, (), parts, *given)


@pytest.fixture
def plan(material, monkeypatch):
    """Bundles of a checkpoint's map, several for every process."""
    monkeypatch.setattr(planning, "CHUNK", 5)

    def made(checkpoint):
        asked = map_quantities(checkpoint, Role.TRAINED, Metric.DELTA_NLL)
        return make_bundles(asked, Split.EXPLORATION, material(checkpoint))

    return made


@pytest.fixture
def opened(tmp_path, cluster):
    """Opens an executor on a store of its own."""
    count = iter(range(99))

    def made(checkpoint, name="ray", run="run", device="cpu", store=None, device_map=None):
        store = store or Store(tmp_path / f"store-{next(count)}")
        address = cluster.address if name == "ray" else None
        resources = choose(name, Asked(device, "float32", [checkpoint], device_map=device_map, address=address))
        return store, open_executor(name, {Role.TRAINED: checkpoint}, store, run, resources)

    return made


def processes():
    """The measuring processes of this process's own cluster that are at a bundle."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ray::Measurer.measure" in process.cmdline()[:1]:
                found.append(process)
    return found


def kill_one(by=signal.SIGKILL, besides=None):
    """Kill a process that measures, as soon as there is one besides another; returns it."""
    for _ in range(600):
        for process in processes():
            with contextlib.suppress(psutil.Error):
                if process != besides:
                    process.send_signal(by)
                    return process
        time.sleep(0.05)
    raise AssertionError("no process measured")


def whole(store, bundles):
    return not any(store.missing(bundle) for bundle in bundles) and "damaged" not in "".join(
        store_maintenance.verify(store)
    )


@pytest.fixture
def by_one_process(checkpoint, plan, opened):
    """What this process alone measures, by model, chunk and ablation."""
    bundles = plan(checkpoint)
    store, executor = opened(checkpoint, "local")
    with executor:
        assert executor.carry_out(bundles) == {}
    return {(b.model, b.chunk): store.units(b.model, b.chunk) for b in bundles}


def equal(store, expected, within=0.0):
    """Whether a store holds these units to the bit, or `within` so much."""
    for place, units in expected.items():
        found = store.units(*place)
        assert found.keys() == units.keys()
        for key, unit in units.items():
            for name, array in unit.items():
                np.testing.assert_allclose(found[key][name], array, rtol=0, atol=within)
    return True


def test_a_cluster_measures_what_one_process_does_to_the_bit_whatever_process_is_killed_and_node_is_lost(
    cluster, checkpoint, plan, opened, by_one_process, more
):
    node, bundles, told = more(), plan(checkpoint), []
    assert len(bundles) >= 8
    store, executor = opened(checkpoint)
    killer = threading.Thread(target=kill_one)
    killer.start()

    def lose(settled):
        told.append(settled)
        if settled == 2:
            cluster.remove_node(node, allow_graceful=False)

    with executor:
        assert executor.carry_out(bundles, lose) == {}
    killer.join()
    assert equal(store, by_one_process)
    assert whole(store, bundles)
    assert told == sorted(told)
    assert told[-1] == len(bundles)
    folder = RunFolder(store.root, "run")
    assert folder.measured == len(bundles)
    assert not any((folder.path / "failed").iterdir())


def test_a_bundle_that_fails_or_kills_its_process_twice_is_named_and_the_rest_goes_on(checkpoint, plan, opened):
    deadly, *rest, another = plan(checkpoint)
    unknown = dataclasses.replace(another, dtype="float8")
    store, executor = opened(checkpoint)
    with executor:
        [(failed, why)] = executor.carry_out([rest[0], unknown]).items()
        assert failed is unknown
        assert "float8" in why
        assert not store.missing(rest[0])
        killer = threading.Thread(target=lambda: kill_one(signal.SIGABRT, besides=kill_one()))
        killer.start()
        slow = dataclasses.replace(deadly, prompts=deadly.prompts * 15)  # (longer than it takes to find its process)
        [(failed, why)] = executor.carry_out([slow]).items()
        killer.join()
        assert failed is slow
        assert f"the process measuring {deadly} died 2 times" in why
        assert len(why.split("its stderr ends: ")[1]) > 100  # (the stack of the abort)
        assert executor.carry_out([deadly, *rest]).keys() == {deadly}
    assert whole(store, rest)
    store, again = opened(checkpoint, run="another", store=store)
    with again:
        assert again.carry_out([deadly, *rest]) == {}


def test_a_checkpoint_larger_than_the_object_stores_is_sent_once_to_a_node_that_lacks_it_and_can_keep_it(
    plan, opened, micro, tmp_path, more
):
    full = more(env_vars={"XDG_CACHE_HOME": "/dev/null"})
    large = tmp_path / "large"
    shutil.copytree(micro / "trained", large)
    with (large / "tokenizer.json").open("a") as stream:
        stream.write(" " * int(1.5 * OBJECT_STORE))  # (no other change to a JSON file is none)
    # The folder's name leads somewhere else in every other process.
    handle = os.open(large, os.O_RDONLY | os.O_DIRECTORY)
    here = Path(f"/proc/self/fd/{handle}")
    checkpoint = inspect_checkpoint(large)
    elsewhere = dataclasses.replace(checkpoint, folder=here, files=tuple(here / file.name for file in checkpoint.files))
    bundles = plan(checkpoint)
    store, executor = opened(elsewhere)
    with executor, pytest.warns(ClusterWarning) as told:
        assert executor.carry_out(bundles) == {}
    os.close(handle)
    [message] = {str(each.message) for each in told if each.category is ClusterWarning}
    assert f"node {full.node_id[:8]}" in message
    assert f"measures nothing: {elsewhere.name} is not there and cannot be sent: [Errno" in message
    assert whole(store, bundles)
    kept = list((Path(os.environ["XDG_CACHE_HOME"]) / "attnres-core" / "sent").glob("*/tokenizer.json"))
    assert [file.stat().st_size > OBJECT_STORE for file in kept] == [True]


def test_how_far_a_fit_is_reaches_the_run(checkpoint, material, opened, monkeypatch):
    monkeypatch.setattr(ray_driver, "LISTEN_SECONDS", 0.02)
    told, tell = [], RunFolder.tell_fit
    monkeypatch.setattr(RunFolder, "tell_fit", lambda self, words: (told.append(words), tell(self, words)))
    what = ac.optimal(ac.EMBEDDING, ac.MLP, ac.LATE).on(ac.TRAINED)
    bundles = make_bundles([what], Split.EXPLORATION, material(checkpoint))
    assert any(bundle.start for bundle in bundles)
    store, executor = opened(checkpoint)
    with executor:
        assert executor.carry_out(bundles) == {}
    assert whole(store, bundles)
    steps = [int(words.split("step ")[1].split()[0]) for words in told if words.endswith(f" of {FIT_STEPS}")]
    assert len(set(steps)) > 3
    assert told[-1] == RunFolder(store.root, "run").fit == ""


def test_a_node_of_another_version_is_refused_by_name_and_the_others_measure(checkpoint, plan, opened, more, starting):
    node = more(env_vars=starting(OTHER_TORCH))
    bundles = plan(checkpoint)
    store, executor = opened(checkpoint)
    with executor, pytest.warns(ClusterWarning) as told:
        assert executor.carry_out(bundles) == {}
    [message] = {str(each.message) for each in told if each.category is ClusterWarning}
    assert f"node {node.node_id[:8]}" in message
    assert "it runs torch 1.0.0 (here" in message
    assert whole(store, bundles)


def test_a_cluster_without_the_device_is_an_error_that_says_what_it_has(checkpoint, plan, opened):
    _, executor = opened(checkpoint, device="cuda")
    with executor, pytest.raises(ValueError, match=r"a process takes 1 GPU, 1 CPU and .* the nodes .* 1 CPU, 0 GPU"):
        executor.carry_out(plan(checkpoint))


def test_a_full_cluster_is_told_and_measures_once_there_is_room(checkpoint, plan, opened, monkeypatch):
    import ray

    class Other:
        def up(self):
            """Returns once it has its core."""

    monkeypatch.setattr(ray_driver, "STAFF_SECONDS", 0.2)
    monkeypatch.setattr(ray_driver, "WAITING_SECONDS", 1.0)
    others = [ray.remote(Other).options(num_cpus=1).remote() for _ in range(2)]
    ray.get([other.up.remote() for other in others])
    bundles = plan(checkpoint)[:2]
    store, executor = opened(checkpoint)
    leaving = threading.Timer(4, lambda: [ray.kill(other) for other in others])
    leaving.start()
    waits = r"no process has started for 1 s: other jobs hold the Ray cluster; waiting for 1 CPU and .*B of memory"
    with executor, pytest.warns(ClusterWarning, match=waits):
        assert executor.carry_out(bundles) == {}
    leaving.join()
    assert whole(store, bundles)


def test_a_model_over_all_gpus_of_a_node_yields_what_it_does_on_one_device(
    checkpoint, plan, opened, more, starting, by_one_process
):
    more(num_gpus=1)  # (too few take no part)
    more(num_gpus=2, env_vars=starting(TWO_GPUS))
    store, executor = opened(checkpoint, device="cuda", device_map="balanced")
    with executor:
        assert executor.carry_out(plan(checkpoint)) == {}
    assert equal(store, by_one_process, within=1e-5)  # (a GPU takes its log-sum-exps another way)
    assert RunFolder(store.root, "run").workers == "1 node, 1 process"


def test_auto_asks_the_cluster_for_gpus(cluster, checkpoint, more):
    def device():
        return choose("ray", Asked("auto", "float32", [checkpoint], address=cluster.address)).device_class

    assert device() == "cpu"
    more(num_gpus=1)
    assert device() == "cuda"


def test_room_is_counted_by_what_a_process_takes():
    demand = ray_driver.Demand(cpus=2, gpus=1, memory=4)
    assert demand.fitting({"CPU": 8, "GPU": 3, "memory": 100}) == 3
    assert demand.fitting({"CPU": 8, "GPU": 3, "memory": 7}) == 1
    assert demand.fitting({"CPU": 5, "GPU": 3, "memory": 100}) == 2
    assert demand.fitting({"CPU": 8, "memory": 100}) == 0


def test_a_process_takes_a_gpu_all_of_a_node_s_or_cores_by_the_model_s_width():
    node = {"CPU": 8, "GPU": 2}
    need = Need(weights=10, states=20, batch=30)
    cuda = Resources("cuda", "float32", (), need)
    assert ray_driver.demand_of(cuda, node) == ray_driver.Demand(1, 1, LIBRARIES + 10)
    spread = dataclasses.replace(cuda, spread=("balanced",))
    assert ray_driver.demand_of(spread, node) == ray_driver.Demand(1, 2, LIBRARIES + 10)
    for width, cpus in ((NARROW, 8), (NARROW - 1, 1)):
        on_cpu = Resources("cpu", "float32", (), need, width=width)
        assert ray_driver.demand_of(on_cpu, node) == ray_driver.Demand(cpus, 0, LIBRARIES + 60)


def grown(root, run, before=frozenset()):
    """What a store holds once it is more than before."""
    while not (now := held(root)) > before:
        assert run.poll() is None, "the run ended before it measured"
        time.sleep(0.05)
    return now


def driving(controller):
    """The process of a run that holds the lock of its driver (the others try to, for a moment each)."""
    trying = set()
    while True:
        holding = set()
        for process in psutil.Process(controller).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(file.path.endswith("-driver.lock") for file in process.open_files()):
                    holding.add(process)
        if both := trying & holding:
            return both.pop()
        trying = holding
        time.sleep(0.05)


@pytest.mark.usefixtures("_quiet")
def test_another_worker_drives_when_one_is_killed_and_a_killed_run_goes_on_with_what_it_left(
    cluster, suite, pytester, micro
):
    ray = ("--attnres-executor=ray", f"--attnres-ray-address={cluster.address}", "--attnres-store=by-ray")
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeconftest(LOGGING + ASKING)
    killed = subprocess.Popen(command(micro, "-n", "2", *ray), start_new_session=True, stdout=subprocess.DEVNULL)
    first = grown(pytester.path / "by-ray", killed)
    driving(killed.pid).kill()
    left = grown(pytester.path / "by-ray", killed, first)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (pytester.path / "asked.log").unlink()

    def decided():
        return [(claim["node_id"], claim["statements"]) for claim in record_of(pytester)["claims"]]

    result = suite("-n", "2", *ray)
    result.stdout.fnmatch_lines([f"*device: cpu, float32, processes of the Ray cluster at {cluster.address}*"])
    verdicts = decided()
    assert (pytester.path / "asked.log").read_text().split() == ["asked"]
    assert set(written(pytester).values()) == {1}
    assert left < held(pytester.path / "by-ray")
    suite("-n", "0", "--attnres-store=alone")
    assert decided() == verdicts


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-host.invalid:6379", "a-name", "127.0.0.1:99999", ""])
def test_an_address_where_nothing_listens_is_refused_at_once(address):
    with pytest.raises(ValueError, match=f"no Ray cluster answers at {address} .* that `ray start --head` printed"):
        check_answers(address)


@pytest.mark.usefixtures("_quiet")
def test_what_cannot_work_is_told_with_the_remedy(suite, pytester):
    result = suite("-n", "0", "--attnres-ray-address=auto")
    result.stderr.fnmatch_lines(["*--attnres-ray-address is for --attnres-executor ray*"])
    with pytest.raises(ValueError, match=r"for programs outside of the cluster; run this on a node .* give HOST:6379"):
        choose("ray", Asked("cpu", "float32", [], address="ray://head:10001"))
    pytester.makeconftest("import sys\nsys.modules['ray'] = None\n")
    result = suite("-n", "0", "--attnres-executor=ray")
    result.stderr.fnmatch_lines(["*needs the package ray: pip install ray, here and on every node*"])
