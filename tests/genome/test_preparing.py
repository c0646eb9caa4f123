"""Many genomes of a host that is not there: what is said, and how long it is waited for."""

from pathlib import Path

import pytest

from dnalm.errors import DataError
from dnalm.genome.download import Patience, RemoteFile, download_folder
from dnalm.genome.preparing import GenomePlan, prepare_genomes

AT_ONCE = Patience(attempts=2, wait_s=0, timeout_s=30)


def test_without_a_network_it_is_said_what_to_put_where_and_that_is_accepted(tmp_path: Path) -> None:
    url = "http://no.invalid/assemblies/yeast.fa"
    place = download_folder(url, tmp_path) / "yeast.fa"
    plan = GenomePlan(place, RemoteFile(url=url))
    with pytest.raises(DataError) as caught:
        prepare_genomes({"yeast": plan}, tmp_path, workers=1, patience=AT_ONCE)
    message = str(caught.value)
    assert message.startswith(
        f"DATA-02 data.genomes: 1 of 1 genomes failed: yeast: FETCH-01 {url}: its host cannot be reached ("
    )
    assert (
        f"Fix: try again later, or bring {url} by other means and put it as {place}, then run this again.;"
        in message
    )
    place.write_text(">chr1\nACGT\n")
    prepare_genomes({"yeast": plan}, tmp_path, workers=1, patience=AT_ONCE)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_host_that_is_not_reached_is_waited_for_once(
    workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    remotes = {f"s{n}": RemoteFile(url=f"http://no.invalid/s{n}.fa") for n in range(6)}
    plans = {
        name: GenomePlan(download_folder(remote.url, tmp_path) / remote.name, remote)
        for name, remote in remotes.items()
    }
    with pytest.raises(DataError, match="6 of 6 genomes failed"):
        prepare_genomes(plans, tmp_path, workers=workers, patience=AT_ONCE)
    # Those that were handed out before the first had failed wait too: one a worker
    assert 1 <= capfd.readouterr().err.count("attempt 2 of 2") <= workers
