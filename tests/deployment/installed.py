"""A machine on which the kit's own ``install.sh`` has been run, in a view of the file system of its own.

Users, folders and units are real in that view and leave no trace outside it. Only systemd is played: its
``systemctl restart`` starts what a unit says, as the unit's user.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

_SYSTEMCTL = """\
#!/bin/sh
[ "$1" = restart ] || exit 0
shift
for unit; do
  value() { sed -n "s/^$1=//p" "/etc/systemd/system/$unit"; }
  user=$(value User) group=$(value Group) groups=$(value SupplementaryGroups)
  folder=$(value RuntimeDirectory)
  [ -z "$folder" ] || install -d -o "$user" -g "$group" -m "$(value RuntimeDirectoryMode)" "/run/$folder"
  umask 0077
  cd /
  HOME=/ setpriv --reuid "$user" --regid "$group" --groups "${groups:+$groups,}$group" \\
    --no-new-privs --bounding-set=-all $(value ExecStart) &
done
"""

_VIEW = """\
kit=$1 lib=$2 prefix=$3 tops=$4
shift 4
mount -t tmpfs -o mode=0755 shown /mnt
number=0
for path; do
  number=$((number + 1))
  mkdir "/mnt/$number"
  mount --rbind "$path" "/mnt/$number"
done
for top in $tops; do mount -t tmpfs -o mode=0755 shown "$top"; done
number=0
for path; do
  number=$((number + 1))
  [ -d "$path" ] || { mkdir -p "$path"; mount --move "/mnt/$number" "$path"; }
done
mount -t tmpfs -o mode=0755 run /run
mkdir /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work etc /etc
mount --bind "$lib" /var/lib
mount -t tmpfs -o mode=0755 opt /opt
ln -s "$prefix" /opt/fedlearn
mkdir /opt/bin
printf '%s' "$SYSTEMCTL" >/opt/bin/systemctl
chmod 0755 /opt/bin/systemctl
cd "$kit"
PATH=/opt/bin:$PATH sh ./install.sh
exec sleep infinity
"""


_PROXY = """\
kit=$1 lib=$2
mkdir -p "$lib/nginx"
mount --bind "$lib" /var/lib
exec nginx -c "$kit/nginx.conf" -g 'daemon off; pid /var/lib/nginx.pid; error_log stderr;'
"""


def command(kit: Path, lib: Path) -> list[str]:
    """Returns the command line, for root in a mount namespace of its own, that installs a kit and runs it.

    Args:
      kit: holds ``install.sh``.
      lib: what is ``/var/lib`` in the view.
    """
    here = Path(__file__).parents[2]
    shown = sorted({Path(sys.base_prefix), Path(sys.prefix), here, kit, lib})
    tops = sorted({str(top) for path in shown for top in _closed(path)})
    words = [str(kit), str(lib), sys.prefix, " ".join(tops), *map(str, shown)]
    return ["env", f"SYSTEMCTL={_SYSTEMCTL}", "sh", "-euc", _VIEW, "sh", *words]


def proxy(kit: Path, lib: Path) -> list[str]:
    """Returns the command line, in a mount namespace of its own, of the proxy on an installed server's host.

    Args:
      kit: the server's.
      lib: what is ``/var/lib`` in the view of the server.
    """
    return ["sh", "-euc", _PROXY, "sh", str(kit), str(lib)]


def _closed(path: Path) -> Iterator[Path]:
    """Yields the outermost folder above a path that only its owner may enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            yield parent
            return
