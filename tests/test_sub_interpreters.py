"""Sub-interpreters: the import is refused there, and the main interpreter is unharmed, whatever becomes of them."""

from __future__ import annotations

import sys
import textwrap

import pytest

from . import scripts

# `_interpreters` is what concurrent.interpreters of Python 3.14 stands on; before 3.13 it had another name.
HEAD = """
    import sys, threading, time
    if sys.version_info >= (3, 13):
        import _interpreters
        create = _interpreters.create
        destroy = _interpreters.destroy
        def execute(id, code):
            failure = _interpreters.exec(id, code)
            return None if failure is None else f"{failure.type.__name__}: {failure.msg}"
    else:
        import _xxsubinterpreters
        destroy = _xxsubinterpreters.destroy
        def create(kind):
            return _xxsubinterpreters.create(isolated=kind == "isolated")
        def execute(id, code):
            try:
                _xxsubinterpreters.run_string(id, code)
            except _xxsubinterpreters.RunFailedError as error:
                return str(error).replace("<class '", "").replace("'>", "")
    from entra_reprocess.emulator import Emulator
    kind, code = sys.argv[1:]
"""
UNDER_WAY = """
    from entra_reprocess import Client
    with Emulator(200, latency=0.15) as graph:
        client = Client(graph.credential, base_url=graph.url, concurrency=2)
        reports = []
        thread = threading.Thread(target=lambda: reports.append(client.reprocess_many(graph.ids)), daemon=True)
        thread.start()
        while not graph.counters["executed"]:
            time.sleep(0.01)
        for _ in range(2):
            sub = create(kind)
            print(execute(sub, code))
            destroy(sub)
        assert thread.is_alive(), "the run was over before"
        thread.join(20)
        print(thread.is_alive(), reports[0].counts["accepted"])
        print(client.reprocess_many(graph.ids[:5]).counts["accepted"], client.reprocess(graph.ids[0]).status)
"""
NAMES = {
    "a class": "from entra_reprocess import Client",
    "a function": "import entra_reprocess; entra_reprocess.reprocess",
    "the emulator": "from entra_reprocess.emulator import Emulator",
    "the native half": "import entra_reprocess._native",
}


def refusals(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("ImportError: ")]


@pytest.mark.parametrize("name", NAMES)
def test_the_import_is_refused_and_a_run_under_way_goes_on(name: str) -> None:
    done = scripts.run(HEAD + UNDER_WAY, "legacy", NAMES[name])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == ["False 200", "5 accepted"]
    first, second = refusals(done.stdout)
    assert first.startswith("ImportError: entra_reprocess works in the main interpreter of a process only")
    assert "call it from a thread or from another process (under mod_wsgi: WSGIApplicationGroup %{GLOBAL})" in second


def test_an_isolated_one_is_refused_as_well() -> None:
    done = scripts.run(HEAD + UNDER_WAY, "isolated", NAMES["a class"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == ["False 200", "5 accepted"]
    # From Python 3.12 on it is Python that refuses, before anything of ours runs.
    assert len(refusals(done.stdout)) == 2
    assert all("interpreter" in line for line in refusals(done.stdout))


def test_an_isolated_one_is_told_what_to_do() -> None:
    code = """
        try:
            from entra_reprocess import Client
        except ImportError as error:
            raise ImportError(str([str(error), *getattr(error, "__notes__", [])])) from None
    """
    done = scripts.run(HEAD + "\n    print(execute(create(kind), code))", "isolated", textwrap.dedent(code))
    assert "from a thread or from another process" in done.stdout, done.stderr


def test_the_main_interpreter_may_import_it_after_the_sub_interpreter() -> None:
    code = """
        import sys
        if sys.version_info >= (3, 13):
            import _interpreters
            sub = _interpreters.create("legacy")
            assert _interpreters.exec(sub, "import entra_reprocess._native") is not None
            _interpreters.destroy(sub)
        else:
            import _xxsubinterpreters
            sub = _xxsubinterpreters.create(isolated=False)
            try:
                _xxsubinterpreters.run_string(sub, "import entra_reprocess._native")
            except _xxsubinterpreters.RunFailedError:
                _xxsubinterpreters.destroy(sub)
        from entra_reprocess import Client
        from entra_reprocess.emulator import Emulator
        with Emulator(40) as graph:
            print(Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids).counts["accepted"])
    """
    done = scripts.run(code)
    assert (done.returncode, done.stdout) == (0, "40\n"), done.stderr


@pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters is new in Python 3.14")
def test_the_public_module_of_interpreters() -> None:
    code = """
        from concurrent import interpreters
        from entra_reprocess import Client
        from entra_reprocess.emulator import Emulator
        sub = interpreters.create()
        try:
            sub.exec("from entra_reprocess import Client")
        except interpreters.ExecutionFailed as error:
            print(type(error).__name__)
        sub.close()
        with Emulator(40) as graph:
            print(Client(graph.credential, base_url=graph.url).reprocess_many(graph.ids).counts["accepted"])
    """
    done = scripts.run(code)
    assert done.stdout == "ExecutionFailed\n40\n", done.stderr
