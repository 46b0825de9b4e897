#!/usr/bin/env bash
# Backs up all that cannot be made again: both databases, MLflow's files, the frozen test sets.
#
#     deploy/backup.sh FOLDER [--store]
#
# FOLDER gets one folder for each backup, named by date and time (UTC); it appears when it is complete. The servers may
# go on meanwhile. With --store the artifacts of all steps too, which runs would otherwise make again when they need
# them; without it those alone that records in the outbox name. What is backed up is what FINETUNE_HOME (default: .finetune in the project) and DATABASE say.
set -euo pipefail
umask 077 # the databases hold what was logged, and MLflow's users

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
if [ "${FINETUNE_IN_ENVIRONMENT:-}" != yes ]; then # what DATABASE says, for PostgreSQL's programs
    FINETUNE_IN_ENVIRONMENT=yes exec "$python" -m flows.database bash "$0" "$@"
fi

folder=${1:?where to: deploy/backup.sh FOLDER [--store]}
case ${2:-} in
    "" | --store) ;;
    *) echo "error: $2 is no option: there is --store" >&2 && exit 2 ;;
esac
home=${FINETUNE_HOME:-$project/.finetune}
target=$folder/$(date --utc +%Y-%m-%dT%H-%M-%SZ)
partial=$folder/.partial.$$
trap 'rm -rf "$partial"' EXIT
mkdir -p "$partial"

# Databases first: what is logged while files are copied may then be in the files and not in the databases, which does
# no harm, and never the other way round.
copy_sqlite() { # FROM TO: consistent also while a server writes
    "$python" -c 'import sqlite3, sys
source, target = (sqlite3.connect(name) for name in sys.argv[1:])
source.backup(target)' "$1" "$2"
}
if [ -n "${PREFECT_DATABASE:-}" ]; then
    pg_dump --format=custom --no-owner --file="$partial/prefect.dump" "$PREFECT_DATABASE"
    pg_dump --format=custom --no-owner --file="$partial/mlflow.dump" "$MLFLOW_DATABASE"
else
    [ -f "$home/prefect/prefect.db" ] && copy_sqlite "$home/prefect/prefect.db" "$partial/prefect.db"
    [ -f "$home/mlflow.db" ] && copy_sqlite "$home/mlflow.db" "$partial/mlflow.db"
fi
[ -f "$home/mlflow-auth.db" ] && copy_sqlite "$home/mlflow-auth.db" "$partial/mlflow-auth.db"

leave_out=(--anchored --no-wildcards-match-slash --exclude=./prefect --exclude=./tmp --exclude='./*.db' --exclude='./*.db-*' --exclude='./*.log' --exclude='./.*')
[ "${2:-}" = --store ] || leave_out+=(--exclude=./store)
# 1: a file changed while it was read, such as a log; every artifact appears whole.
tar --create --directory="$home" "${leave_out[@]}" --file="$partial/home.tar" . || [ $? = 1 ]
if [ "${2:-}" != --store ] && compgen -G "$home/outbox/*.json" >/dev/null; then # MLflow will be told of these from them
    mapfile -t needed < <(cd "$home" && "$python" -c 'from tasks.record.outbox import Outbox
for record in Outbox().records()[0]:
    for made in record.made or ():
        print(f"./store/{made.step}/{made.key}")' | sort --unique | xargs --no-run-if-empty ls --directory 2>/dev/null)
    [ "${#needed[@]}" = 0 ] || tar --append --directory="$home" --file="$partial/home.tar" "${needed[@]}" || [ $? = 1 ]
fi

sync
mv "$partial" "$target"
echo "$target"
