"""The tools of the field tests themselves."""

from __future__ import annotations

from namespaces import SHM_TMPFS, needs_namespaces, run_in_namespaces


@needs_namespaces
def test_private_shm_is_not_the_machines() -> None:
    done = run_in_namespaces(
        [SHM_TMPFS.format(options="size=1M,mode=1777")], ["sh", "-c", "touch /dev/shm/mine; ls /dev/shm"]
    )
    assert (done.returncode, done.stdout.split()) == (0, ["mine"])


@needs_namespaces
def test_private_network_has_a_loopback_interface() -> None:
    done = run_in_namespaces([], ["cat", "/sys/class/net/lo/flags"], network=True)
    assert int(done.stdout, 16) & 1, done.stderr
