#!/usr/bin/env bash
# Puts a backup back: `deploy/restore.sh BACKUP`, a folder that deploy/backup.sh printed.
#
# Both databases become what they were then; files of the backup are put back, and files that came later stay. The
# servers must be stopped. FINETUNE_HOME and DATABASE say where to, and need not be those of the backup's machine: but
# MLflow notes where files lie, so FINETUNE_HOME should have the same path, unless the server serves them itself.
set -Eeuo pipefail
umask 077

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
if [ "${FINETUNE_IN_ENVIRONMENT:-}" != yes ]; then # what DATABASE says, for PostgreSQL's programs
    FINETUNE_IN_ENVIRONMENT=yes exec "$python" -m flows.database bash "$0" "$@"
fi

fail() { echo "error: $*" >&2 && exit 2; }
trap 'fail "$backup was not restored, for the reason above: mend that and run this again"' ERR

backup=${1:?which: deploy/restore.sh BACKUP}
home=${FINETUNE_HOME:-$project/.finetune}
[ -f "$backup/home.tar" ] || fail "$backup is no backup: name a folder that deploy/backup.sh has printed"
kind=db
[ -n "${PREFECT_DATABASE:-}" ] && kind=dump
[ -f "$backup/mlflow.$kind" ] || fail "$backup is a backup of the other kind of database: set DATABASE, or unset it"
mkdir -p "$home"
flock --nonblock --conflict-exit-code 3 "$home/.up.lock" true || fail "\`make up\` is running over $home: stop it first"
pages=$("$python" -c 'from tasks.running import UI, read_note, still_running
note = read_note(UI)
print(*(process.pid for process in still_running(note)) if note else ())')
[ -z "$pages" ] || fail "\`make ui\` is running over $home: stop it first"

put_back() { # FILE-OF-THE-BACKUP FILE-OF-THE-HOME: whole, or not at all
    [ -f "$backup/$1" ] || return 0
    cp "$backup/$1" "$home/$2.restored"
    sync "$home/$2.restored"
    rm -f "$home/$2"-journal "$home/$2"-wal "$home/$2"-shm # of the database that is replaced
    mv "$home/$2.restored" "$home/$2"
}
if [ $kind = dump ]; then
    for name in "$PREFECT_DATABASE" "$MLFLOW_DATABASE"; do
        users=$(psql --no-align --tuples-only --dbname=postgres --set=name="$name" \
            <<<"select count(*) from pg_stat_activity where datname = :'name'")
        [ "$users" = 0 ] || fail "$users connections use the database $name: stop the servers first"
    done
    for name in "$PREFECT_DATABASE" "$MLFLOW_DATABASE"; do
        dump=$backup/prefect.dump
        [ "$name" = "$MLFLOW_DATABASE" ] && dump=$backup/mlflow.dump
        dropdb --if-exists "$name"
        createdb --encoding=UTF8 --template=template0 "$name"
        pg_restore --exit-on-error --no-owner --dbname="$name" "$dump"
    done
else
    mkdir -p "$home/prefect"
    put_back prefect.db prefect/prefect.db
    put_back mlflow.db mlflow.db
fi
put_back mlflow-auth.db mlflow-auth.db
tar --extract --directory="$home" --file="$backup/home.tar"
echo "restored $backup into $home"
