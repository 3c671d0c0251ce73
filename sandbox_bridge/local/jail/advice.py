"""What to do where a host forbids the jail, by bubblewrap's own complaint. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Advice:
    pattern: str
    words: str


_ADVICE = [
    _Advice(
        r"Unknown option --disable-userns",
        "this bubblewrap is too old: 0.8 or newer is needed (Debian 12, Ubuntu 24.04)",
    ),
    _Advice(
        r"RTM_NEWADDR|uid.?map.*(Operation not permitted|Permission denied)",
        "this system lets only listed programs use user namespaces (AppArmor, as in Ubuntu 24.04): install"
        " the profile for bubblewrap (`apt install apparmor-profiles`, then"
        " `ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ &&"
        " apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict`), or set"
        " `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    _Advice(
        r"nesting depth|max_.*namespaces exceeded|ENOSPC|No space left on device",
        "user namespaces are used up or turned off: `sysctl user.max_user_namespaces` must be above 0",
    ),
    _Advice(
        r"No permissions to creat\w* new namespace|Creating new namespace failed",
        "user namespaces are forbidden: on Debian `sysctl kernel.unprivileged_userns_clone=1`; in Docker run"
        " with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`",
    ),
    _Advice(
        r"Failed to make / slave",
        "this container forbids mounts: in Docker run with `--security-opt seccomp=unconfined --security-opt"
        " apparmor=unconfined`",
    ),
    _Advice(
        r"Can't mount proc|proc.*Operation not permitted",
        "this container hides parts of /proc, and so forbids a new one: in Docker run with `--security-opt"
        " systempaths=unconfined`",
    ),
    _Advice(
        r"nft says",
        "SANDBOX_MAX_NETWORK=full needs nftables in the kernel, for user namespaces too: `modprobe nf_tables`"
        " (CONFIG_NF_TABLES_INET, CONFIG_NFT_REJECT_INET); without it set SANDBOX_MAX_NETWORK=none",
    ),
    _Advice(
        r"/dev/net/tun|slirp4netns says|network can't be entered",
        "SANDBOX_MAX_NETWORK=full needs /dev/net/tun, open to everybody: `modprobe tun`, `chmod 666 /dev/net/tun`;"
        " in Docker run with `--device /dev/net/tun`, in systemd without `PrivateDevices=`; or set"
        " SANDBOX_MAX_NETWORK=none",
    ),
    _Advice(r"setuid|Unexpected capabilities", "run the service as a user without capabilities"),
]


def advice_for(complaint: str) -> str:
    """What to do about bubblewrap's `complaint`."""
    for advice in _ADVICE:
        if re.search(advice.pattern, complaint):
            return advice.words
    return "run `bwrap --unshare-all --unshare-user --ro-bind / / true` to see what the system forbids"
