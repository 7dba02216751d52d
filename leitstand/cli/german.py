# SPDX-License-Identifier: Apache-2.0
"""The German of every sentence that the command line says, by its English. Read by `leitstand.cli.text`."""

from typing import Final

from leitstand.cli.german_access import ACCESS
from leitstand.cli.german_bookings import BOOKINGS
from leitstand.cli.german_fork import FORK
from leitstand.cli.german_generate import GENERATE
from leitstand.cli.german_health import HEALTH
from leitstand.cli.german_jobfile import JOBFILE
from leitstand.cli.german_maintenance import MAINTENANCE
from leitstand.cli.german_running import RUNNING
from leitstand.cli.german_shares import SHARES
from leitstand.cli.german_sites import SITES
from leitstand.cli.german_studies import STUDIES
from leitstand.cli.german_twin import TWIN
from leitstand.cli.german_watched import WATCHED

GERMAN: Final[dict[str, str]] = {
    # the group
    "Leitstand: the control plane of an Industrial AI Cloud.": "Leitstand: die Leitstelle einer Industrial AI Cloud.",
    "Commands": "Befehle",
    'There is no command "{name}".': "Den Befehl „{name}“ gibt es nicht.",
    'Did you mean "{near}"?': "Meinten Sie „{near}“?",
    "Start the control plane on this machine.": "Die Leitstelle auf diesem Rechner starten.",
    "Submit a job, follow its log, exit with its exit code.": "Einen Job einreichen, sein Protokoll verfolgen, "
    "mit seinem Exit-Code enden.",
    "Submit a job and print its id.": "Einen Job einreichen und seine Kennung ausgeben.",
    "Say what would happen to a job; submit nothing.": "Sagen, was mit einem Job geschähe; nichts einreichen.",
    "List jobs, newest first.": "Jobs auflisten, die neuesten zuerst.",
    "Show one job with its runs and what it used.": "Einen Job mit seinen Läufen und seinem Verbrauch zeigen.",
    "Print the log of a job.": "Das Protokoll eines Jobs ausgeben.",
    "Cancel jobs.": "Jobs abbrechen.",
    "Hold jobs that wait.": "Wartende Jobs anhalten.",
    "Release jobs that are held.": "Angehaltene Jobs freigeben.",
    "Not before: 2026-03-01T08:00:00Z, or 2h from now.": "Nicht vorher: 2026-03-01T08:00:00Z, oder 2h von jetzt an.",
    "It has to end by then, written like --begin.": "Bis dahin muss er zu Ende sein, geschrieben wie --begin.",
    "Not before this job has ended; HOW: ok, any or failed.  [default: ok]": "Nicht vor dem Ende dieses Jobs; HOW: ok, "
    "any oder failed.  [Vorgabe: ok]",
    "It waits until it is released.": "Er wartet, bis er freigegeben wird.",
    "So many equal jobs, numbered from 0.": "So viele gleiche Jobs, von 0 an gezählt.",
    "until it is released": "bis er freigegeben wird",
    "until the time before which it must not begin": "bis zu der Zeit, vor der er nicht beginnen soll",
    "until other jobs have ended": "bis andere Jobs zu Ende sind",
    "List the nodes and what is free on them.": "Die Knoten auflisten und was auf ihnen frei ist.",
    "List the sites.": "Die Standorte auflisten.",
    "Show what was used, in GPU-hours and CPU-hours.": "Den Verbrauch zeigen, in GPU- und CPU-Stunden.",
    "Verify, show, export or back up the journal.": "Das Journal prüfen, zeigen, ausgeben oder sichern.",
    # the client
    "Error: {message}": "Fehler: {message}",
    "There is no control plane at {url}.": "Unter {url} ist keine Leitstelle.",
    "Start it with `leitstand up`, or set LEITSTAND_URL.": "Mit `leitstand up` starten oder LEITSTAND_URL setzen.",
    "The answer of {url} was lost ({error}).": "Die Antwort von {url} ging verloren ({error}).",
    "{reason}. Trying again in {seconds:g} s.": "{reason}. Neuer Versuch in {seconds:g} s.",
    "The certificate of {url} is not trusted: {error}": "Dem Zertifikat von {url} wird nicht vertraut: {error}",
    "Set SSL_CERT_FILE to the certificate of its authority.": "SSL_CERT_FILE auf das Zertifikat der Stelle setzen.",
    'LEITSTAND_URL is "{url}": {error}': "LEITSTAND_URL ist „{url}“: {error}",
    'LEITSTAND_URL is "{url}", which is not an http or https address.': "LEITSTAND_URL ist „{url}“, "
    "das ist keine Adresse mit http oder https.",
    "Set it like {example}.": "So setzen: {example}.",
    "{url} answered {status}, and not in the way a control plane does.": "{url} antwortete mit {status}, "
    "und nicht wie eine Leitstelle.",
    "Check LEITSTAND_URL.": "LEITSTAND_URL prüfen.",
    "What answers at {url} is no Leitstand, or one of another version.": "Was unter {url} antwortet, ist kein "
    "Leitstand, oder einer einer anderen Version.",
    "There is nothing at {url}.": "Unter {url} ist nichts.",
    "Is this a Leitstand? LEITSTAND_URL ends without /v1.": "Ist das ein Leitstand? LEITSTAND_URL endet ohne /v1.",
    "The request cannot be sent: {error}": "Die Anfrage lässt sich nicht senden: {error}",
    "the control plane does not take this:": "die Leitstelle nimmt das nicht an:",
    "`leitstand nodes` shows what there is; `leitstand plan` tells beforehand what would be admitted.": "`leitstand "
    "nodes` zeigt, was da ist; `leitstand plan` sagt vorher, was zugelassen würde.",
    "`leitstand quota` shows what is left; ask for less time (--max-duration), or for a further budget.": "`leitstand "
    "quota` zeigt, was noch da ist; verlangen Sie weniger Zeit (--max-duration) oder ein weiteres Budget.",
    "`leitstand jobs` lists the jobs.": "`leitstand jobs` nennt die Jobs.",
    "`leitstand tenants` lists the tenants, `leitstand tenants add` adds one.": "`leitstand tenants` nennt die "
    "Mandanten, `leitstand tenants add` fügt einen hinzu.",
    '"{word}" is not the id of a job; ids are like operator-1.': "„{word}“ ist keine Kennung eines Jobs; "
    "Kennungen sind wie operator-1.",
    "a key is 1 to {limit} printable ASCII characters, without blanks at its ends": "ein Schlüssel hat 1 bis {limit} "
    "druckbare ASCII-Zeichen, ohne Leerzeichen an den Enden",
    # the last catch
    "Aborted!": "Abgebrochen!",
    "Error: {word} is not UTF-8 text.": "Fehler: {word} ist kein Text in UTF-8.",
    "Error: standard output cannot be written: {why}": "Fehler: die Standardausgabe lässt sich nicht schreiben: {why}",
    # tables
    "Print JSON.": "JSON ausgeben.",
    "yes": "ja",
    "no": "nein",
    "ID": "KENNUNG",
    "NAME": "NAME",
    "TENANT": "MANDANT",
    "PROJECT": "PROJEKT",
    "STATE": "ZUSTAND",
    "REASON": "GRUND",
    "GPUS": "GPUS",
    "EXIT": "EXIT",
    "AGE": "ALTER",
    "RUN": "LAUF",
    "RUNS": "LÄUFE",
    "NODE": "KNOTEN",
    "NODES": "KNOTEN",
    "STARTED": "BEGONNEN",
    "ENDED": "BEENDET",
    "OUTCOME": "AUSGANG",
    "SITE": "STANDORT",
    "POOL": "POOL",
    "GPU TYPE": "GPU-ART",
    "FREE": "FREI",
    "ENGINE": "ANTRIEB",
    "JURISDICTION": "RECHTSRAUM",
    "PENDING": "WARTEND",
    "real": "echt",
    "out of service": "außer Dienst",
    "CPUS": "CPUS",
    "MEMORY GB": "SPEICHER GB",
    "CLASS": "KLASSE",
    "JOB": "JOB",
    "JOBS": "JOBS",
    "GPU-H": "GPU-H",
    "CPU-H": "CPU-H",
    "WALL H": "DAUER H",
    "TASK": "TEIL",
    "QUEUE": "WARTEZEIT",
    "JCT": "BIS ZUM ENDE",
    "MEAN": "MITTEL",
    # jobs
    "All jobs, not only the newest.": "Alle Jobs, nicht nur die neuesten.",
    "Only jobs in this state.": "Nur Jobs in diesem Zustand.",
    "Only jobs of this tenant.": "Nur Jobs dieses Mandanten.",
    "Only jobs of this project.": "Nur Jobs dieses Projekts.",
    "At most so many.": "Höchstens so viele.",
    "No jobs.": "Keine Jobs.",
    "These are the newest {count}; there may be more (--limit, --all).": "Das sind die neuesten {count}; "
    "es kann mehr geben (--limit, --all).",
    "Follow to the end, and exit with the job's exit code.": "Bis zum Ende verfolgen und mit dem Exit-Code "
    "des Jobs enden.",
    "Only this task (node rank).": "Nur dieser Teil (Rang des Knotens).",
    "Print each line as a JSON object: task, offset, text.": "Jede Zeile als JSON-Objekt ausgeben: task, offset, text.",
    "log": "Protokoll",
    "Job {job} is {state}: it has no log yet.": "Job {job} ist {state}: noch kein Protokoll.",
    "{count} jobs at once; the limit is {limit}.": "{count} Jobs auf einmal; die Grenze ist {limit}.",
    "job {job} had ended already: {state}": "Job {job} war schon zu Ende: {state}",
    "job {job}: {state}": "Job {job}: {state}",
    "job": "Job",
    "name": "Name",
    "tenant": "Mandant",
    "project": "Projekt",
    "state": "Zustand",
    "reason": "Grund",
    "message": "Hinweis",
    "exit code": "Exit-Code",
    "signal": "Signal",
    "nodes": "Knoten",
    "{now}, from {least} to {most} when it starts": "{now}, von {least} bis {most}, wenn er startet",
    "{now}, while it runs from {least} to {most}": "{now}, während er läuft von {least} bis {most}",
    "per node": "je Knoten",
    "priority": "Priorität",
    "max duration": "Höchstdauer",
    "submitted": "eingereicht",
    "started": "begonnen",
    "ended": "beendet",
    "used": "verbraucht",
    "{gpus} GPUs, {cpus:g} CPUs": "{gpus} GPUs, {cpus:g} CPUs",
    "{gpu} GPU-h, {cpu} CPU-h, {wall} h wall time": "{gpu} GPU-h, {cpu} CPU-h, {wall} h Laufzeit",
    # the fleet
    "No nodes.": "Keine Knoten.",
    "No sites.": "Keine Standorte.",
    "No tenants.": "Keine Mandanten.",
    "{node}: MIG instances that fit, each alone: {fit}": "{node}: MIG-Instanzen, die passen, jede für sich: {fit}",
    "Nothing was used yet.": "Noch nichts verbraucht.",
    "logical": "logisch",
    "Logical GPUs are counted, not real: jobs get their numbers, no device.": "Logische GPUs sind gezählt, "
    "nicht echt: Jobs bekommen ihre Nummern, kein Gerät.",
    "Add a tenant.": "Einen Mandanten hinzufügen.",
    "Its class.": "Seine Klasse.",
    "tenant {tenant} is there, class {name}": "Mandant {tenant} ist da, Klasse {name}",
    "One row for each.": "Eine Zeile für jeden.",
    # submitting
    "GPUs per node, or a MIG instance: 2, H100:2, H100:3g.40gb.  [default: 0]": "GPUs je Knoten, oder eine "
    "MIG-Instanz: 2, H100:2, H100:3g.40gb.  [sonst: 0]",
    '"{text}" is neither a number of GPUs nor like H100:2 or H100:3g.40gb': "„{text}“ ist weder eine Anzahl von GPUs "
    "noch wie H100:2 oder H100:3g.40gb",
    "Nodes: tasks of the gang.  [default: 1]": "Knoten: Teile des Verbunds.  [sonst: 1]",
    "CPU cores per node.": "CPU-Kerne je Knoten.",
    "Memory per node in GB.": "Speicher je Knoten in GB.",
    "A name for listings.": "Ein Name für Listen.",
    "Who it is for.  [default: your only one]": "Für wen.  [sonst: Ihr einziger]",
    "The project it is charged to.  [default: your only one, else default]": "Das Projekt, dem er zufällt.  [sonst: "
    "Ihr einziges, sonst default]",
    "The job is ended after this time, like 1h30m.": "Nach dieser Zeit wird der Job beendet, etwa 1h30m.",
    "How long it will probably take.": "Wie lange es wohl dauert.",
    "0 to 100; more is sooner, under rules that use it.": "0 bis 100; mehr ist früher, unter Regeln, die es nutzen.",
    "Environment; K alone passes your own on.": "Umgebung; K allein reicht die eigene weiter.",
    "A folder that is sent along, without .git, .venv and caches; the job starts in its copy.": "Ein Ordner, der "
    "mitgeht, ohne .git, .venv und Zwischenspeicher; der Job beginnt in seiner Kopie.",
    "Sent again with the same key within 24 h, it is the same job.": "Mit demselben Schlüssel binnen 24 h "
    "ist es derselbe Job.",
    "Do not follow the log; exit 0 once the job is accepted.": "Das Protokoll nicht verfolgen; 0, sobald der Job "
    "angenommen ist.",
    'Put a job file or "-- COMMAND", not both.': "Eine Jobdatei oder „-- BEFEHL“, nicht beides.",
    'There is no command after "--".': "Nach „--“ steht kein Befehl.",
    "There is neither a command nor a job file.": "Es fehlt ein Befehl oder eine Jobdatei.",
    "Write: {path} [OPTIONS] -- COMMAND, or {path} FILE.yaml": "Schreiben Sie: {path} [OPTIONEN] -- BEFEHL, "
    "oder {path} DATEI.yaml",
    "The command has {size} characters; the limit is {limit}.": "Der Befehl hat {size} Zeichen; die Grenze "
    "ist {limit}.",
    "{name} is not set here; write {name}=VALUE": "{name} ist hier nicht gesetzt; schreiben Sie {name}=WERT",
    "{word} is not UTF-8 text.": "{word} ist kein Text in UTF-8.",
    "admitted": "zugelassen",
    "starts": "beginnt",
    "now": "sofort",
    "later": "später",
    "waits": "wartet",
    "until enough is free at once": "bis genug auf einmal frei ist",
    "until its turn comes": "bis er an der Reihe ist",
    "jobs ahead": "Jobs davor",
    "asked": "verlangt",
    "Interrupted while the job was being submitted: whether it was accepted is not known.": "Beim Einreichen "
    "unterbrochen: ob der Job angenommen wurde, ist nicht bekannt.",
    "`leitstand jobs` shows it if it was; with --idempotency-key {key} the same command submits it at most once.": ""
    "Wenn ja, zeigt ihn `leitstand jobs`; mit --idempotency-key {key} reicht derselbe Befehl ihn höchstens einmal ein.",
    "limit": "Grenze",
    # following
    "Follow it with: leitstand logs -f {job}": "Verfolgen mit: leitstand logs -f {job}",
    "Stop it with: leitstand cancel {job}": "Beenden mit: leitstand cancel {job}",
    "stop job {job}, or detach? s/d": "Job {job} beenden (s) oder sich lösen (d)? s/d",
    "detached; job {job} goes on": "gelöst; Job {job} läuft weiter",
    "job {job} is being stopped": "Job {job} wird beendet",
    "Error: no contact for {limit:g} s; the job goes on.": "Fehler: seit {limit:g} s kein Kontakt; er läuft weiter.",
    "signal {number}": "Signal {number}",
    "exit code {code}": "Exit-Code {code}",
    "the log cannot be written: {why}; job {job} goes on": "das Protokoll lässt sich nicht schreiben: {why}; Job {job} "
    "läuft weiter",
    # amounts
    '"{text}" is not an amount; write it like 4 or 0.5': "„{text}“ ist keine Menge; schreiben Sie etwa 4 oder 0.5",
    '"{text}" is not a duration; write it like 1h30m, 2d or 90s': "„{text}“ ist keine Dauer; schreiben Sie "
    "etwa 1h30m, 2d oder 90s",
    '"{text}" is not above 0 and up to {limit}d': "„{text}“ liegt nicht über 0 und bis {limit}d",
    '"{text}" is not a size; write it like 64M or 1G': "„{text}“ ist keine Größe; schreiben Sie etwa 64M oder 1G",
    # the job file
    "the job file cannot be used\n{faults}": "die Jobdatei ist nicht zu gebrauchen\n{faults}",
    "… and {count} more": "… und {count} weitere",
    "the file is larger than {limit} bytes; put big inputs into workdir": "die Datei ist größer als {limit} Bytes; "
    "große Eingaben gehören in workdir",
    "the text is not UTF-8": "der Text ist nicht UTF-8",
    "nested too deeply": "zu tief verschachtelt",
    "a job file is a mapping with at least the key `run`": "eine Jobdatei ist eine Zuordnung, mindestens mit `run`",
    "`run` is missing: the command or script of the job": "`run` fehlt: der Befehl oder das Skript des Jobs",
    'unknown key "{key}"; did you mean "{near}"?': "unbekannter Schlüssel „{key}“; meinten Sie „{near}“?",
    'unknown key "{key}"; known: {known}': "unbekannter Schlüssel „{key}“; bekannt: {known}",
    '"{key}" is there twice, first in line {line}': "„{key}“ steht doppelt da, zuerst in Zeile {line}",
    '"{key}" must be {expected}, not {got}': "„{key}“ muss {expected} sein, nicht {got}",
    '"{key}": the tag {tag} is not supported': "„{key}“: die Marke {tag} gibt es nicht",
    '"{key}" is empty': "„{key}“ ist leer",
    "a mapping with accelerators, cpus and memory": "eine Zuordnung mit accelerators, cpus und memory",
    "a mapping of names to values": "eine Zuordnung von Namen zu Werten",
    "a number like 4 or 0.5": "eine Zahl wie 4 oder 0.5",
    "GB like 64": "GB wie 64",
    "a duration like 1h30m": "eine Dauer wie 1h30m",
    "a script, or a list of words": "ein Skript oder eine Liste von Wörtern",
    "one value": "ein Wert",
    "a list": "eine Liste",
    "a mapping": "eine Zuordnung",
    "text": "Text",
    "a whole number": "eine ganze Zahl",
    "a number": "eine Zahl",
    "yes or no": "ja oder nein",
    "nothing": "nichts",
    "a date": "ein Datum",
    "it is not a regular file": "das ist keine gewöhnliche Datei",
    # the work directory
    "The work directory {folder} is too big: {what}.": "Das Arbeitsverzeichnis {folder} ist zu groß: {what}.",
    "more than {limit} MiB": "mehr als {limit} MiB",
    "more than {limit} files": "mehr als {limit} Dateien",
    "Keep data elsewhere and give the job its path.": "Daten anderswo halten und dem Job den Pfad geben.",
    "The work directory {folder} cannot be packed: {error}": "Das Arbeitsverzeichnis {folder} lässt sich nicht "
    "packen: {error}",
    "The work directory {folder} has a link that leads out of it: {name}": "Im Arbeitsverzeichnis {folder} führt "
    "ein Link hinaus: {name}",
    "Replace it by what it points to, or remove it.": "Durch sein Ziel ersetzen oder entfernen.",
    "The work directory {folder} has something that is no file, folder or link: {name}": "Im Arbeitsverzeichnis "
    "{folder} ist etwas, das weder Datei noch Ordner noch Link ist: {name}",
    # up
    "The data folder.": "Der Datenordner.",
    "The PostgreSQL database that holds the journal.  [default: a file in the data folder]": "Die Datenbank "
    "(PostgreSQL), in der das Journal liegt.  [Vorgabe: eine Datei im Datenordner]",
    "The PostgreSQL database, of another server, that holds the keys of people and tenants; names, commands and "
    "secrets are then in that of the journal.  [default: files in the data folder]": "Die Datenbank (PostgreSQL), auf "
    "einem anderen Server, in der die Schlüssel von Personen und Mandanten liegen; Namen, Kommandos und Geheimnisse "
    "liegen dann in der des Journals.  [Vorgabe: Dateien im Datenordner]",
    "the stores are in a database only if the journal is; give --journal, too": "In einer Datenbank kann das nur "
    "liegen, wenn auch das Journal in einer liegt; --journal mit angeben.",
    "this database is of the server of the journal, which archives its log: keys that an erasure destroys would lie on "
    "there; name one of another server": "Diese Datenbank gehört zum Server des Journals, der sein Protokoll "
    "archiviert: Schlüssel, die eine Löschung vernichtet, lägen dort weiter; eine auf einem anderen Server nennen.",
    "One of several on the journal: one leads, the others stand by. Runs are on the sites that were added.": "Eine von "
    "mehreren am Journal: eine führt, die anderen stehen bereit. Läufe sind auf Standorten, die hinzugefügt wurden.",
    "With --standby: the folder that all of them have, for work directories and sites.": "Mit --standby: der Ordner, "
    "den alle haben, für Arbeitsverzeichnisse und Standorte.",
    "With --standby: where the others are told that this one is.": "Mit --standby: unter welcher Adresse die anderen "
    "diese nennen.",
    "is for control planes that take turns: give --standby, too": "ist für Leitstellen, die sich abwechseln: --standby "
    "mit angeben",
    "control planes that take turns run nothing on their own machines; leave --gpus and --nodes out": "Leitstellen, "
    "die sich abwechseln, führen auf ihren eigenen Rechnern nichts aus; --gpus und --nodes weglassen",
    "needs --shared DIR, a folder that all of them have: work directories and sites lie there": "braucht --shared "
    "ORDNER, einen Ordner, den alle haben: dort liegen Arbeitsverzeichnisse und Standorte",
    "{folder} is no folder that can be written": "{folder} ist kein Ordner, in den geschrieben werden kann",
    "whoever takes over needs journal and stores: give --journal and --keys": "Wer übernimmt, braucht Journal und "
    "Speicher: --journal und --keys angeben",
    "turns": "wechselt",
    "with others on its journal: `leitstand status` says who leads": "sich mit anderen am Journal ab: `leitstand "
    "status` sagt, wer führt",
    "Say how the control plane is; of several that take turns, which one leads.": "Sagen, wie es der Leitstelle geht, "
    "und welche von mehreren führt, die sich abwechseln.",
    "leads": "führt",
    "stands by": "steht bereit",
    "its writer is away: readings alone": "der entscheidende Prozess ist nicht da: nur Auskünfte",
    "last entry": "letzter Eintrag",
    "nobody at the moment": "gerade niemand",
    "leader": "führt",
    "changes of lead": "Wechsel der Führung",
    "ADDRESS": "ADRESSE",
    "BEHIND [entries]": "ZURÜCK [Einträge]",
    "LAST SEEN [s]": "ZULETZT GESEHEN [s]",
    "{error}; run this again, until then no token of the administrator counts": "{error}; dies wiederholen, bis dahin "
    "gilt kein Token des Verwalters",
    "Copy it to the other machines of this control plane.": "Auf die anderen Rechner dieser Leitstelle kopieren.",
    "Administer the data folder of a control plane.": "Den Datenordner einer Leitstelle verwalten.",
    "Replace the administrator's token. The old one opens nothing more, at once and also while the control plane runs; "
    "neither do the tokens and sessions that the administrator got by it.": "Das Token des Verwalters ersetzen. Das "
    "alte öffnet nichts mehr, sofort und auch während die Leitstelle läuft; ebenso wenig die Token und Sitzungen, die "
    "der Verwalter damit bekam.",
    "{folder} is no data folder of a control plane": "{folder} ist kein Datenordner einer Leitstelle",
    "{file} holds a new token.": "{file} enthält ein neues Token.",
    "Tokens that it issued to others stay: `leitstand audit` shows them.": "Token, die es anderen ausstellte, bleiben: "
    "`leitstand audit` zeigt sie.",
    "The address to listen on.": "Die Adresse, unter der gelauscht wird.",
    "The port.": "Der Port.",
    "Logical GPUs of this machine.  [default: its real ones, else one per core]": "Logische GPUs dieses Rechners.  "
    "[sonst: seine echten, sonst je Kern eine]",
    "Logical nodes that share the GPUs evenly.": "Logische Knoten, die sich die GPUs gleich teilen.",
    "Sign-in with the identity provider of this file.": "Anmeldung mit dem Identitätsanbieter dieser Datei.",
    "The certificate chain, PEM.": "Die Zertifikatskette, PEM.",
    "Its key, PEM.": "Ihr Schlüssel, PEM.",
    "A proxy in front of this one does the TLS.": "Ein Proxy davor übernimmt TLS.",
    "Who starts next.  [default: as before, at first fifo-greedy]": "Wer als Nächster beginnt.  [sonst: wie bisher, "
    "anfangs fifo-greedy]",
    "With less free disk than this, submissions are refused.": "Ist weniger Platte frei, wird nichts mehr angenommen.",
    "The largest log of one task of a job.": "Das größte Protokoll eines Teils eines Jobs.",
    "User ids for the runs of tenants, if root starts this.": "Benutzernummern für die Läufe der Mandanten, falls root "
    "dies startet.",
    "The Python that jobs find first.  [default: this one]": "Das Python, das Jobs zuerst finden.  [sonst: dieses]",
    '"{text}" is not a range of user ids; write it like 200000-265535, from {min} to {max}': "„{text}“ ist kein "
    "Bereich von Benutzernummern; schreiben Sie ihn wie 200000-265535, von {min} bis {max}",
    "{python} is not an executable file": "{python} ist keine ausführbare Datei",
    "tenants cannot execute {python}: {reason}": "Mandanten können {python} nicht ausführen: {reason}",
    "tenants cannot execute {python}: {reason}. Name another with --python": "Mandanten können {python} nicht "
    "ausführen: {reason}. Nennen Sie mit --python ein anderes",
    "tenants cannot reach {folder}: {reason}. Name another with --data": "Mandanten erreichen {folder} nicht: "
    "{reason}. Nennen Sie mit --data einen anderen",
    "as your own user; tenants are not isolated from each other (only root can do that)": "als Ihr eigener Benutzer; "
    "Mandanten sind nicht voneinander getrennt (das kann nur root)",
    "isolated: each tenant has its own user id ({first}-{last}), files, processes and /tmp": "getrennt: jeder Mandant "
    "hat seine eigene Benutzernummer ({first}-{last}), Dateien, Prozesse und /tmp",
    "each tenant has its own user id ({first}-{last}); without namespaces, the arguments of processes are visible to "
    "all tenants": "jeder Mandant hat seine eigene Benutzernummer ({first}-{last}); ohne Namensräume sind die "
    "Argumente von Prozessen für alle Mandanten sichtbar",
    "Show the logs of the processes.": "Die Protokolle der Prozesse zeigen.",
    "{gpus} GPUs cannot be shared evenly by {nodes} nodes": "{gpus} GPUs lassen sich nicht gleich auf {nodes} "
    "Knoten verteilen",
    "{size} bytes is over the limit of {limit}": "{size} Bytes liegen über der Grenze von {limit}",
    "{host} can be reached from outside, and tokens would travel in clear. Give --tls-cert and --tls-key, or "
    "--behind-proxy if a proxy does the TLS.": "{host} ist von außen erreichbar, und Token gingen im Klartext "
    "hinaus. Geben Sie --tls-cert und --tls-key an, oder --behind-proxy, wenn ein Proxy TLS übernimmt.",
    "--tls-cert and --tls-key belong together": "--tls-cert und --tls-key gehören zusammen",
    '"{host}" is not an address of this machine': "„{host}“ ist keine Adresse dieses Rechners",
    "port {port} needs privileges; take one from 1024 on": "Port {port} braucht Rechte; nehmen Sie einen ab 1024",
    "port {port} of {host} is in use by another program; choose another with --port.": "Port {port} von {host} "
    "gehört schon einem anderen Programm; wählen Sie mit --port einen anderen.",
    "{folder} holds other things; name a new or empty folder": "In {folder} liegt anderes; nennen Sie einen neuen "
    "oder leeren Ordner",
    "{folder} is not a folder": "{folder} ist kein Ordner",
    "{folder} cannot be used: {error}": "{folder} ist nicht zu gebrauchen: {error}",
    "{folder} is in use by another control plane (process {pid}). Stop that one, or name another folder with "
    "--data.": "{folder} gehört schon einer anderen Leitstelle (Prozess {pid}). Beenden Sie diese, oder nennen Sie "
    "mit --data einen anderen Ordner.",
    "Leitstand {version} is ready at {url}": "Leitstand {version} ist bereit unter {url}",
    "site": "Ort",
    "runs": "Läufe",
    "data": "Daten",
    "token": "Token",
    "{nodes} node(s), {gpus} logical GPU(s): counted, not real": "{nodes} Knoten, {gpus} logische GPU(s): gezählt, "
    "nicht echt",
    "{nodes} node(s), {gpus} GPU(s): {kinds}": "{nodes} Knoten, {gpus} GPU(s): {kinds}",
    "Type next, in another terminal:": "Als Nächstes, in einem anderen Terminal:",
    "stopping; running jobs go on and are adopted at the next start": "wird beendet; laufende Jobs laufen weiter "
    "und werden beim nächsten Start übernommen",
    "the {name} did not stop in time and was killed": "{name} endete nicht rechtzeitig und wurde abgebrochen",
    "the {name} ended ({how}); starting it again": "{name} endete ({how}) und wird neu gestartet",
    "Error: the {name} does not start or stay alive ({how}).": "Fehler: {name} startet nicht oder bleibt nicht am "
    "Leben ({how}).",
    "Its last line: {line}": "Letzte Zeile: {line}",
    "Its log: {path}": "Protokoll: {path}",
    # the journal
    "A new file (else standard output).": "Eine neue Datei (sonst die Standardausgabe).",
    "BAD": "SCHLECHT",
    "Check an export instead.": "Stattdessen eine Ausgabe prüfen.",
    "Check every entry, all signed heads and snapshots. Exit code 1 names the first bad entry.": "Jeden Eintrag, alle "
    "signierten Köpfe und alle Schnappschüsse prüfen. Exit-Code 1 nennt den ersten schlechten Eintrag.",
    "Copied {count} entries to {path} and verified them.": "{count} Einträge nach {path} kopiert und geprüft.",
    "Copy the journal into the new file TARGET, also while it is in use, and verify the copy.": "Das Journal in die "
    "neue Datei TARGET kopieren, auch während es benutzt wird, und die Kopie prüfen.",
    "DETAIL": "EINZELHEITEN",
    "Exported {count} entries, signed up to entry {seq}.": "{count} Einträge ausgegeben, signiert bis Eintrag {seq}.",
    "Exported {count} entries, without a signed head.": "{count} Einträge ausgegeben, ohne signierten Kopf.",
    "FACT": "FAKT",
    "No entries.": "Keine Einträge.",
    "No signed head was checked: the chain alone cannot show that its owner rewrote it.": "Kein signierter Kopf wurde "
    "geprüft: die Kette allein zeigt nicht, dass ihr Besitzer sie neu schrieb.",
    "Only entries about this job and its runs.": "Nur Einträge über diesen Job und seine Läufe.",
    "Only entries after number N, oldest first.": "Nur Einträge nach Nummer N, die ältesten zuerst.",
    "Print entries: the newest, or those after a sequence number.": "Einträge zeigen: die neuesten, oder die nach "
    "einer Nummer.",
    "SEQ": "NR",
    "Signed by the key that the export brings along; name one that you trust with --pub.": "Signiert mit dem "
    "Schlüssel, den die Ausgabe mitbringt; nennen Sie mit --pub einen, dem Sie vertrauen.",
    "Signed heads (else DIR/heads.jsonl).": "Signierte Köpfe (sonst DIR/heads.jsonl).",
    "TIME": "ZEIT",
    "The data folder (else LEITSTAND_DATA, else ~/.local/share/leitstand).": "Der Datenordner (sonst LEITSTAND_DATA, "
    "sonst ~/.local/share/leitstand).",
    "The public key (else DIR/keys/head.pub).": "Der öffentliche Schlüssel (sonst DIR/keys/head.pub).",
    "Write the whole journal as JSON lines with a signed head; anyone can check them (verify --file).": "Das ganze "
    "Journal als JSON-Zeilen mit signiertem Kopf schreiben; jeder kann sie prüfen (verify --file).",
    "good": "gut",
    "good entries": "gute Einträge",
    "hash": "Hash",
    "journal": "Journal",
    "last stamp": "letzter Stempel",
    "path": "Pfad",
    "signed": "signiert",
    "up to entry {seq} (key {key})": "bis Eintrag {seq} (Schlüssel {key})",
    "verdict": "Urteil",
    "{path} exists; name a new file.": "{path} gibt es schon; nennen Sie eine neue Datei.",
    "{path}: first bad entry {seq}: {what}: {detail}. Keep this file as evidence; go on from a backup.": "{path}: "
    "erster schlechter Eintrag {seq}: {what}: {detail}. Diese Datei als Beweis behalten; mit einer Sicherung "
    "weitermachen.",
    # job files and batch scripts
    **JOBFILE,
    # tenants, people, applications, access
    **ACCESS,
    # entitlements, commitments, quota
    **RUNNING,
    **SHARES,
    **SITES,
    **HEALTH,
    # maintenance
    **MAINTENANCE,
    # bookings
    **BOOKINGS,
    # synthetic workloads
    **FORK,
    **GENERATE,
    # the twin
    **TWIN,
    # studies
    **STUDIES,
    **WATCHED,
}
