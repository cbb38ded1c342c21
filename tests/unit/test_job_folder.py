"""What a job leaves in its folder is data of somebody else: a link may lead where the job itself could not read."""

from pathlib import Path

from deploy.local.sagemaker.job_folder import failure_reason, own_files, own_text


def test_what_a_link_leads_to_outside_is_none_of_the_job_s_results(tmp_path: Path) -> None:
    secret, job = tmp_path / "secret", tmp_path / "job"
    secret.write_text("key")
    (job / "model" / "deep").mkdir(parents=True)
    (job / "model" / "deep" / "weights").write_text("1")
    (job / "model" / "file").symlink_to(secret)
    (job / "model" / "folder").symlink_to(tmp_path)
    (job / "model" / "own").symlink_to(job / "model" / "deep" / "weights")
    (job / "data").symlink_to(tmp_path)
    (job / "output").mkdir()
    (job / "output" / "failure").symlink_to(secret)

    found = [path.relative_to(job).as_posix() for path in own_files(job, job / "model")]

    assert found == ["model/deep/weights", "model/own"]
    assert [path for path in own_files(job, job / "data") if path.resolve() == secret] == []
    assert own_text(job, job / "output" / "failure") == ""
    assert "key" not in failure_reason(job, 1)


def test_a_result_that_is_a_whole_folder_elsewhere_is_none(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("key")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model").symlink_to(tmp_path / "elsewhere")

    assert own_files(tmp_path / "job", tmp_path / "job" / "model") == []
