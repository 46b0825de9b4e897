#!/usr/bin/env bash
# Backs up all that cannot be made again: both databases, MLflow's files, the frozen test sets.
#
#     deploy/backup.sh FOLDER [--store]
#
# FOLDER gets one folder for each backup, named by date and time (UTC); it appears when it is complete, and where a part
# of it fails, none does: that is one sentence, and status 2. The servers may go on meanwhile. With --store the artifacts
# of all steps too, which runs would otherwise make again when they need them; without it those alone that records in the
# outbox name. What is backed up is what FINETUNE_HOME (default: .finetune in the project) and DATABASE say.
set -euo pipefail
umask 077 # the databases hold what was logged, and MLflow's users

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
if [ "${FINETUNE_IN_ENVIRONMENT:-}" != yes ]; then # what DATABASE says, for PostgreSQL's programs
    FINETUNE_IN_ENVIRONMENT=yes exec "$python" -m flows.database bash "$0" "$@"
fi

fail() { echo "error: $*" >&2 && exit 2; }
part() { # WHAT COMMAND ...: what the command prints of its failure is the sentence's reason
    local what=$1 said status=0
    shift
    said=$("$@" 2>&1) || status=$?
    [ $status = 0 ] || fail "$what cannot be backed up ($(tail -n 2 <<<"${said:-status $status}" | xargs -d '\n')):" \
        "no back-up was made; mend that and run this again"
}

folder=${1:?where to: deploy/backup.sh FOLDER [--store]}
case ${2:-} in
    "" | --store) ;;
    *) fail "$2 is no option: there is --store" ;;
esac
home=${FINETUNE_HOME:-$project/.finetune}
[ -d "$home" ] || fail "there is no folder $home to back up: set FINETUNE_HOME"
mkdir -p "$folder" || fail "$folder cannot be made: name another folder"
exec 9>"$folder/.lock"
flock --nonblock 9 || fail "another back-up is being made in $folder: wait for it"
rm -rf "$folder"/.partial.* # of one that was killed
target=$folder/$(date --utc +%Y-%m-%dT%H-%M-%SZ)
partial=$folder/.partial.$$
trap 'rm -rf "$partial"' EXIT
part "$home" mkdir "$partial"

# Databases first: what is logged while files are copied may then be in the files and not in the databases, which does
# no harm, and never the other way round.
copy_sqlite() { # FROM TO: consistent also while a server writes
    [ ! -f "$1" ] || part "$1" "$python" -c 'import sqlite3, sys
try:
    source, target = (sqlite3.connect(name) for name in sys.argv[1:])
    source.backup(target)
except sqlite3.Error as error:
    sys.exit(str(error))' "$1" "$2"
}
if [ -n "${PREFECT_DATABASE:-}" ]; then
    for name in prefect mlflow; do
        database=${name^^}_DATABASE
        part "the database ${!database}" pg_dump --format=custom --no-owner --file="$partial/$name.dump" "${!database}"
    done
else
    copy_sqlite "$home/prefect/prefect.db" "$partial/prefect.db"
    copy_sqlite "$home/mlflow.db" "$partial/mlflow.db"
fi
copy_sqlite "$home/mlflow-auth.db" "$partial/mlflow-auth.db"

leave_out=(--anchored --no-wildcards-match-slash --exclude=./prefect --exclude=./tmp --exclude='./*.db' --exclude='./*.db-*' --exclude='./*.log' --exclude='./.*')
[ "${2:-}" = --store ] || leave_out+=(--exclude=./store)
archive() { # ARGUMENTS ... of tar. 1: a file changed while it was read, such as a log; every artifact appears whole.
    tar --directory="$home" --file="$partial/home.tar" "$@" || [ $? = 1 ]
}
part "$home" archive --create "${leave_out[@]}" .
if [ "${2:-}" != --store ] && compgen -G "$home/outbox/*.json" >/dev/null; then # MLflow will be told of these from them
    part "what the records of $home/outbox name" "$python" -c 'import sys
from tasks.environment import home
from tasks.record.outbox import Outbox
made = {f"store/{made.step}/{made.key}" for record in Outbox().records()[0] for made in record.made or ()}
with open(sys.argv[1], "w") as needed:
    needed.writelines(f"./{name}\n" for name in sorted(made) if (home() / name).exists())' "$partial/needed"
    [ ! -s "$partial/needed" ] || part "what the records of $home/outbox name" archive --append --files-from="$partial/needed"
    rm "$partial/needed"
fi

part "$target" sync "$partial"/* "$partial"
part "$target" mv --no-target-directory "$partial" "$target"
part "$target" sync "$folder"
echo "$target"
