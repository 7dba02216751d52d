# SPDX-License-Identifier: Apache-2.0
"""The German of what the readers of job files and batch scripts say. Read by `leitstand.cli.german`."""

from typing import Final

JOBFILE: Final[dict[str, str]] = {
    # job files
    "({count} characters)": "({count} Zeichen)",
    '"{key}" is not yet supported: {remedy}': "„{key}“ gibt es noch nicht: {remedy}",
    '"{key}" is passed over: {why}': "„{key}“ wird übergangen: {why}",
    '"{key}" has no value; pass it with --env {key}=…, or write "" for an empty one': "„{key}“ hat keinen Wert; geben "
    'Sie ihn mit --env {key}=… oder schreiben Sie "" für einen leeren',
    '"{key}" is in envs and in secrets; give it once': "„{key}“ steht in envs und in secrets; einmal genügt",
    '"{key}" is not the name of a variable: letters, digits and _': "„{key}“ ist kein Name einer Variablen: "
    "Buchstaben, Ziffern und _",
    '"{key}" is {value}; it goes from 0 to {limit}': "„{key}“ ist {value}; möglich ist 0 bis {limit}",
    '"{key}": max is missing, how often to try again': "„{key}“: es fehlt max, wie oft neu versucht wird",
    '"{key}": only max_restarts_on_errors counts; there is one cloud to run in': "„{key}“: nur max_restarts_on_errors "
    "zählt; es gibt nur eine Cloud",
    '"{key}": path is missing, the folder of the checkpoints': "„{key}“: es fehlt path, der Ordner der Sicherungen",
    '"{key}": the alternatives have different counts, or there is none; write one of them': "„{key}“: die "
    "Möglichkeiten haben verschiedene Anzahlen, oder es gibt keine; schreiben Sie eine davon",
    '"{key}": there are no TPUs here; write GPU:{count}': ""
    "„{key}“: hier gibt es keine TPUs; schreiben Sie GPU:{count}",
    '"{key}": there is no folder {folder}, seen from {base}': ""
    "„{key}“: es gibt keinen Ordner {folder}, von {base} aus",
    '"{text}" is not a signal to use; known: {known}': "„{text}“ ist kein brauchbares Signal; bekannt: {known}",
    "a count like 2, or a type and a count like H100:2": "eine Anzahl wie 2 oder Art und Anzahl wie H100:2",
    "a count, or a mapping with max and on": "eine Anzahl oder eine Zuordnung mit max und on",
    "a list of {known}": "eine Liste aus {known}",
    "a mapping with max_restarts_on_errors": "eine Zuordnung mit max_restarts_on_errors",
    "a mapping with path, every, signal and grace": "eine Zuordnung mit path, every, signal und grace",
    "a second document begins here; write one job per file": "hier beginnt ein zweites Dokument; schreiben Sie einen "
    "Job je Datei",
    "a signal like SIGUSR1": "ein Signal wie SIGUSR1",
    'secrets do not belong into files: write "{key}: null" and pass the value with --secret {key}, or name a secret of '
    "the project (NAME or NAME@VERSION)": "Geheimnisse gehören nicht in Dateien: schreiben Sie „{key}: null“ und geben "
    "Sie den Wert mit --secret {key}, oder nennen Sie ein Geheimnis des Projekts (NAME oder NAME@VERSION)",
    '"{key}" is a folder of yours; clone a repository in setup instead': "„{key}“ ist ein eigener Ordner; klonen Sie "
    "ein Repository in setup",
    '"{key}" belongs under resources': "„{key}“ gehört unter resources",
    '"{key}" belongs to the file itself, not under resources': "„{key}“ gehört in die Datei selbst, "
    "nicht unter resources",
    # why keys of others are refused or passed over
    "this cloud places jobs itself; remove it": "diese Cloud platziert Jobs selbst; entfernen Sie es",
    "jobs run in the environment of the node; install what is missing in setup": "Jobs laufen in der Umgebung des "
    "Knotens; installieren Sie in setup, was fehlt",
    "put small files into workdir and fetch big ones in setup or run": "legen Sie kleine Dateien in workdir und holen "
    "Sie große in setup oder run",
    "only jobs with an end run today": "bisher laufen nur Jobs mit einem Ende",
    "write one of the alternatives into resources": "schreiben Sie eine der Möglichkeiten in resources",
    "remove it": "entfernen Sie es",
    "settings of another platform; remove it": "Einstellungen einer anderen Plattform; entfernen Sie es",
    "a task has one MIG instance, not {count}; say --nodes for more tasks": "ein Teil hat eine MIG-Instanz, nicht "
    "{count}; schreiben Sie --nodes für mehr Teile",
    "a MIG instance like H100:3g.40gb, in every alternative": "eine MIG-Instanz wie H100:3g.40gb, in jeder Möglichkeit",
    '"{key}": a task has one MIG instance; say num_nodes: {count} for more tasks': "„{key}“: ein Teil hat eine "
    "MIG-Instanz; schreiben Sie num_nodes: {count} für mehr Teile",
    "say accelerators, cpus and memory instead": "nennen Sie stattdessen accelerators, cpus und memory",
    "write project": "schreiben Sie project",
    "nodes are not yours to stop; the job ends by itself or at max_duration": "Knoten hält nicht der Job an; er endet "
    "von selbst oder nach max_duration",
    "disk space is not counted": "Plattenplatz wird nicht gezählt",
    "nothing is called when the state changes; `leitstand logs -f` waits for the end": "bei Zustandswechseln wird "
    "nichts aufgerufen; `leitstand logs -f` wartet auf das Ende",
    "jobs have no labels; name and project tell them apart": "Jobs haben keine Etiketten; name und project "
    "unterscheiden sie",
    "nodes have one network": "Knoten haben ein Netz",
    "there is no spot market; the job keeps what it got": "es gibt keinen Spotmarkt; der Job behält, was er bekam",
    # batch scripts
    '"--{name}" has no value': "„--{name}“ hat keinen Wert",
    '"--{name}" is not supported: {remedy}': "„--{name}“ gibt es hier nicht: {remedy}",
    '"--{name}" is passed over: {why}': "„--{name}“ wird übergangen: {why}",
    '"--{name}" may mean {options}': "„--{name}“ kann {options} bedeuten",
    '"--{name}" takes no value': "„--{name}“ nimmt keinen Wert",
    '"-{letter}" has no value': "„-{letter}“ hat keinen Wert",
    '"{text}" is longer than {limit} days': "„{text}“ ist länger als {limit} Tage",
    '"{text}" is not a count from 1 on': "„{text}“ ist keine Anzahl ab 1",
    '"{text}" is not a number of GPUs; write it like 8 or a100:8': "„{text}“ ist keine Anzahl von GPUs; schreiben Sie "
    "etwa 8 oder a100:8",
    '"{text}" is not a number of nodes; write it like 2': ""
    "„{text}“ ist keine Anzahl von Knoten; schreiben Sie etwa 2",
    '"{text}" is not a resource; write it like gpu:2 or gpu:a100:2': "„{text}“ ist keine Ressource; schreiben Sie etwa "
    "gpu:2 oder gpu:a100:2",
    '"{text}" is not a signal; write it like USR1@120': "„{text}“ ist kein Signal; schreiben Sie etwa USR1@120",
    '"{text}" is not a time; write minutes, hours:minutes:seconds or days-hours': "„{text}“ ist keine Zeit; schreiben "
    "Sie Minuten, Stunden:Minuten:Sekunden oder Tage-Stunden",
    '"{text}" is not an amount of memory; write it like 64G': "„{text}“ ist keine Speichermenge; schreiben Sie etwa "
    "64G",
    '"{word}" is not an option': "„{word}“ ist keine Option",
    "a batch script begins with a line like #!/bin/bash": "ein Batch-Skript beginnt mit einer Zeile wie #!/bin/bash",
    "a job has no standard input; redirect it in the script": "ein Job hat keine Standardeingabe; leiten Sie sie im "
    "Skript um",
    "a quotation mark is not closed": "ein Anführungszeichen ist nicht geschlossen",
    "a share of a GPU cannot be asked for; ask for whole ones: gpu:1": "ein Teil einer GPU lässt sich nicht verlangen; "
    "verlangen Sie ganze: gpu:1",
    "all {count} tasks are put on one node; say --nodes for more": "alle {count} Tasks kommen auf einen Knoten; mit "
    "--nodes werden es mehr",
    "jobs of several parts are not supported; submit one job per part": "Jobs aus mehreren Teilen gibt es hier nicht; "
    "reichen Sie je Teil einen Job ein",
    "login files are not read; set what the script needs in itself": "Anmeldedateien werden nicht gelesen; setzen Sie "
    "im Skript, was es braucht",
    "memory is then not counted; the job shares what the node has": "der Speicher wird dann nicht gezählt; der Job "
    "teilt sich, was der Knoten hat",
    "no folder is sent along; if the script needs the files here, add --workdir .": "kein Ordner geht mit; braucht das "
    "Skript die Dateien hier, dann mit --workdir .",
    "no job is without a limit; it has the longest that its class allows by default": "kein Job ist unbegrenzt; er hat "
    "die Höchstdauer, die seine Klasse ohne Angabe hat",
    "only GPUs are counted, not {names}": "nur GPUs werden gezählt, nicht {names}",
    "only lines with #SBATCH are read": "nur Zeilen mit #SBATCH werden gelesen",
    "only scripts for bash or sh can be run, not for {shell}; call it in such a script": "nur Skripte für bash oder sh "
    "laufen, nicht für {shell}; rufen Sie es in einem solchen auf",
    "several kinds of GPUs in one job are not supported; name one": "mehrere GPU-Arten in einem Job gibt es nicht; "
    "nennen Sie eine",
    "the job asks for no GPU": "der Job verlangt keine GPU",
    "the job gets {count} nodes, the fewest that it takes": "der Job bekommt {count} Knoten, die wenigsten, die er "
    "nimmt",
    "the lines end as on Windows; convert the file with dos2unix": "die Zeilen enden wie unter Windows; wandeln Sie "
    "die Datei mit dos2unix um",
    "the options disagree about the GPUs per node ({said}); leave one": "die Optionen widersprechen sich über die GPUs "
    "je Knoten ({said}); lassen Sie eine stehen",
    "mpirun over several nodes is not supported; start the tasks with srun, or take one node": "mpirun über mehrere "
    "Knoten gibt es nicht; starten Sie die Tasks mit srun, oder nehmen Sie einen Knoten",
    "the script runs on each of the {nodes} nodes; in it, srun runs a command once for every task": "das Skript läuft "
    "auf jedem der {nodes} Knoten; srun startet darin einen Befehl einmal je Task",
    "the script is empty": "das Skript ist leer",
    "there is a NUL character": "hier steht ein NUL-Zeichen",
    "there is no folder {folder} here to send along": "hier gibt es keinen Ordner {folder}, der mitgehen könnte",
    "this line stands after the first command, where Slurm does not read it either": "diese Zeile steht nach dem "
    "ersten Befehl, wo auch Slurm sie nicht liest",
    'unknown option "--{name}"; did you mean "--{near}"?': "unbekannte Option „--{name}“; meinten Sie „--{near}“?",
    'unknown option "--{name}"; docs/jobfile.md lists what is known': "unbekannte Option „--{name}“; docs/jobfile.md "
    "nennt die bekannten",
    'unknown option "-{letter}"': "unbekannte Option „-{letter}“",
    "your environment is not passed on; name what the job needs: --env NAME": "Ihre Umgebung geht nicht mit; nennen "
    "Sie, was der Job braucht: --env NAME",
    "{gpus} GPUs are not the same number on each of {nodes} nodes": "{gpus} GPUs sind nicht auf jedem von {nodes} "
    "Knoten gleich viele",
    "{name} is not set here and not passed on": "{name} ist hier nicht gesetzt und geht nicht mit",
    "{options} exclude each other; leave one": "{options} schließen einander aus; lassen Sie eine stehen",
    "{seconds} s before the end are too long; the limit is {limit}": "{seconds} s vor dem Ende sind zu lang; die "
    "Grenze ist {limit}",
    "{signal} comes to all processes of the job when its time is over, not before; then it has {seconds} s": "{signal} "
    "kommt an alle Prozesse des Jobs, wenn seine Zeit um ist, nicht vorher; dann hat er {seconds} s",
    "{tasks} tasks are not the same number on each of {nodes} nodes": "{tasks} Tasks sind nicht auf jedem von {nodes} "
    "Knoten gleich viele",
    "{tasks} tasks do not fill {nodes} nodes": "{tasks} Tasks füllen {nodes} Knoten nicht",
    # why options of sbatch are refused or passed over
    "the scheduler chooses the nodes": "der Scheduler wählt die Knoten",
    "tasks and cores are laid out by the node": "Tasks und Kerne verteilt der Knoten",
    "the log is kept for you: `leitstand logs`": "das Protokoll wird aufgehoben: `leitstand logs`",
    "nobody is called or written to; `leitstand logs -f` waits for the end": "niemand wird benachrichtigt; `leitstand "
    "logs -f` wartet auf das Ende",
    "there are no such queues here; see --tenant, --project and --priority": "solche Warteschlangen gibt es hier "
    "nicht; siehe --tenant, --project und --priority",
    "the node stays as it is": "der Knoten bleibt, wie er ist",
    "it changes what sbatch prints": "es ändert, was sbatch ausgibt",
    "jobs run as the user that the cloud gives them": "Jobs laufen als der Benutzer, den die Cloud ihnen gibt",
    "say --nodes, --ntasks-per-node, --cpus-per-task and --gpus-per-node": "nennen Sie --nodes, --ntasks-per-node, "
    "--cpus-per-task und --gpus-per-node",
    "jobs run in the environment of the node": "Jobs laufen in der Umgebung des Knotens",
    "jobs have a name and no comment": "Jobs haben einen Namen und keinen Kommentar",
    "a job has what it asks for, not the rest of its nodes; ask by number": "ein Job hat, was er verlangt, nicht den "
    "Rest seiner Knoten; verlangen Sie Zahlen",
    "login files are not read; see --env": "Anmeldedateien werden nicht gelesen; siehe --env",
    "a gang ends when one of its tasks fails": "ein Verbund endet, wenn einer seiner Teile scheitert",
    "`leitstand run` waits for the end, `leitstand submit` does not": "`leitstand run` wartet auf das Ende, `leitstand "
    "submit` nicht",
    "the tasks of a gang start together anyway": "die Teile eines Verbunds beginnen ohnehin zusammen",
    "copy the data in the script": "kopieren Sie die Daten im Skript",
    "write --env NAME, or --export=NAME=VALUE": "schreiben Sie --env NAME oder --export=NAME=WERT",
    "licences are not counted; remove it if the program finds its own": "Lizenzen werden nicht gezählt; entfernen Sie "
    "es, wenn das Programm seine selbst findet",
    "ask with `leitstand plan`": "fragen Sie mit `leitstand plan`",
    "write the command into the script": "schreiben Sie den Befehl in das Skript",
    # the command line
    '"{word}" is not a job file (.yaml, .sbatch, .sh); a command stands after "--".': "„{word}“ ist keine Jobdatei "
    "(.yaml, .sbatch, .sh); ein Befehl steht nach „--“.",
    "A secret variable: your own K, for this job alone, or the secret NAME of the project.": "Eine geheime Variable: "
    "die eigene K, nur für diesen Job, oder das Geheimnis NAME des Projekts.",
    "A value on the command line can be seen by others. Set the variable and write --secret NAME, or name a secret of "
    "the project: --secret NAME=@SECRET": "Einen Wert auf der Befehlszeile können andere sehen. Setzen Sie die "
    "Variable und schreiben Sie --secret NAME, oder nennen Sie ein Geheimnis des Projekts: --secret NAME=@GEHEIMNIS",
    "{name} is not set here; set it, or name a secret of the project: --secret {name}=@SECRET": "{name} ist hier nicht "
    "gesetzt; setzen Sie es, oder nennen Sie ein Geheimnis des Projekts: --secret {name}=@GEHEIMNIS",
    "The variable has no name; write K=V": "Die Variable hat keinen Namen; schreiben Sie K=V",
    "true or false": "true oder false",
    "jobs like acme-42 or acme-42:any": "Jobs wie acme-42 oder acme-42:any",
    "a mapping with required, preferred, slice_level and slice_nodes": ""
    "eine Zuordnung mit required, preferred, slice_level und slice_nodes",
    '"{text}" is not a range of numbers; write it like 0-9 or 1-9:2, and several as arrays of their own': ""
    "„{text}“ ist kein Bereich von Zahlen; schreiben Sie ihn wie 0-9 oder 1-9:2, und mehrere als "
    "eigene Arrays",
    '"{text}" holds no number': "„{text}“ enthält keine Zahl",
    "{count} jobs in one array; the limit is {limit}": "{count} Jobs in einem Array; die Grenze ist {limit}",
    '"{text}" is not a dependency to use; write afterok, afterany or afternotok and jobs, separated by commas': ""
    "„{text}“ ist keine brauchbare Abhängigkeit; schreiben Sie afterok, afterany oder afternotok und "
    "Jobs, durch Kommas getrennt",
    '"{text}" is not a time; write it like now+2hours, 16:00, tomorrow or 2026-03-01T08:00': ""
    "„{text}“ ist keine Zeit; schreiben Sie sie wie now+2hours, 16:00, tomorrow oder 2026-03-01T08:00",
    "as many run at once as there is room for, not {limit} at most": ""
    "es laufen so viele zugleich, wie Platz ist, nicht höchstens {limit}",
}
