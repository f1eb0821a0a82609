from __future__ import annotations

from pathlib import Path

from web.rpc.generated.generate import PROTOS, ROOT, generate


def test_the_message_classes_are_those_of_the_protos(tmp_path):
    status = generate(tmp_path)

    assert status == 0
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*")}
    assert len(made) == 2 * len(PROTOS)
    for path in made:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), (
            f"{path} is out of date: run `python -m web.rpc.generated.generate`"
        )


def test_no_generated_file_is_left_over():
    left = {path.name for path in Path(ROOT, "web/rpc/generated").glob("*_pb2.py")}

    assert left == {f"{path.stem}_pb2.py" for path in PROTOS}
