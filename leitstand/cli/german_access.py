# SPDX-License-Identifier: Apache-2.0
"""The German of tenants, people, applications and access. Read by `leitstand.cli.german` and `leitstand.cli.words`."""

from typing import Final

ACCESS: Final[dict[str, str]] = {
    '"{key}" has to be a mapping.': "„{key}“ muss eine Zuordnung sein.",
    '"{word}" is the name of several users: {ids}': "„{word}“ heißen mehrere: {ids}",
    '"{word}" names nothing known; known: {known}': "„{word}“ nennt nichts Bekanntes; bekannt: {known}",
    "(platform)": "(Plattform)",
    "A first job: leitstand run --gpus 1 -- echo hello": "Ein erster Job: leitstand run --gpus 1 -- echo hallo",
    "A new file.": "Eine neue Datei.",
    "A role of the platform, in no tenant.": "Eine Rolle der Plattform, in keinem Mandanten.",
    "A token on the command line can be seen by others; write --token - and give it on standard input": "Ein "
    "Token auf der Befehlszeile ist für andere sichtbar; schreiben Sie --token - und geben Sie ihn auf der "
    "Standardeingabe",
    "ACCEPTED BY": "ANGENOMMEN VON",
    "ACT": "HANDLUNG",
    "ACTION": "AKTION",
    "ACTION is like job:submit. RESOURCE: tenant=acme, project=vision, job=acme-42, user=u7 or application=a1; "
    "also acme/vision, or a word that the action explains; left out: where you work. Exit code 0 for yes, 1 for "
    "no.": "ACTION ist wie job:submit. RESOURCE: tenant=acme, project=vision, job=acme-42, user=u7 oder "
    "application=a1; auch acme/vision oder ein Wort, das die Aktion erklärt; sonst, wo Sie arbeiten. Exit-Code 0 "
    "heißt ja, 1 nein.",
    "ALLOWED": "ERLAUBT",
    "Accept an invitation by its code (- reads it from standard input); who is not signed in gets an account.": ""
    "Eine Einladung mit ihrem Code annehmen (- liest ihn von der Standardeingabe); wer nicht angemeldet ist, "
    "bekommt ein Konto.",
    "Accept an invitation by its code.": "Eine Einladung mit ihrem Code annehmen.",
    "Add a project, or open a closed one again.": "Ein Projekt hinzufügen oder ein geschlossenes wieder öffnen.",
    "Add a user without roles; others come by invitation.": "Jemanden ohne Rollen hinzufügen; andere kommen durch "
    "Einladung.",
    "All actions, where you work.": "Alle Aktionen, dort, wo Sie arbeiten.",
    "An application in YAML or JSON.": "Ein Antrag in YAML oder JSON.",
    "Another version.  [default: the one in force]": "Eine andere Fassung.  [sonst: die geltende]",
    "Application {id} is not decided yet.": "Über den Antrag {id} ist noch nicht entschieden.",
    "Apply for a tenant of your own.": "Einen eigenen Mandanten beantragen.",
    "Apply for a tenant of your own: asks on a terminal, or takes a file or options.": "Einen eigenen Mandanten "
    "beantragen: fragt am Terminal oder nimmt eine Datei oder Optionen.",
    "Approve: the tenant is there, with its first user and its first budget.": "Genehmigen: der Mandant ist da, "
    "mit seiner ersten Person und seinem ersten Budget.",
    "BUDGET": "BUDGET",
    "GRANTED": "GEGEBEN",
    "AVAILABLE": "FREI",
    "POSTED": "VERBUCHT",
    "RESERVED": "RESERVIERT",
    "reserves": "reserviert",
    "BY": "VON",
    "CHECK": "PRÜFUNG",
    "CHECKS": "PRÜFUNGEN",
    "Change it so?": "So ändern?",
    "City": "Ort",
    "Class": "Klasse",
    "Clients go where `leitstand login` signed in; LEITSTAND_URL (default http://127.0.0.1:8640) and "
    "LEITSTAND_TOKEN go before that. Every reading command takes --json.": "Es gilt, wo `leitstand login` "
    "angemeldet hat; LEITSTAND_URL (sonst http://127.0.0.1:8640) und LEITSTAND_TOKEN gehen vor. Jeder lesende "
    "Befehl kennt --json.",
    "Close a project: it takes no new job; what it has goes on.": "Ein Projekt schließen: es nimmt keinen neuen "
    "Job; was läuft, läuft weiter.",
    "Code": "Code",
    "Country (two letters, like DE)": "Land (zwei Buchstaben, etwa DE)",
    "Delete a secret with all its versions.": "Ein Geheimnis mit allen Versionen löschen.",
    "Delete the secret {name} with all its versions?": "Das Geheimnis {name} mit allen Versionen löschen?",
    "Do not ask.": "Nicht fragen.",
    "Do not show the plan and ask.": "Den Plan nicht zeigen und nicht fragen.",
    "Do you accept this contract (version {version})?": "Nehmen Sie diesen Vertrag an (Fassung {version})?",
    "E-MAIL": "E-MAIL",
    "EXPIRES": "LÄUFT AB",
    "End the suspension of a tenant; what was held queues again.": "Die Sperre eines Mandanten beenden; was "
    "anhielt, reiht sich wieder ein.",
    "Erase a user: tokens, live jobs, name, address, and what the jobs were.": "Eine Person löschen: Token, "
    "lebende Jobs, Name, Adresse und was die Jobs waren.",
    "Erase all data of a tenant that has left, and who was in it alone.": "Alle Daten eines ausgeschiedenen "
    "Mandanten löschen, und wer nur dort war.",
    "Erase everything about user {user}? This cannot be taken back.": "Alles über {user} löschen? Das lässt sich "
    "nicht zurücknehmen.",
    "Erase everything about {tenant}? This cannot be taken back.": "Alles über den Mandanten {tenant} löschen? "
    "Das lässt sich nicht zurücknehmen.",
    "Examine, approve and refuse applications.": "Anträge prüfen, genehmigen und ablehnen.",
    "Extend the transition of a tenant that leaves.": "Den Übergang eines ausscheidenden Mandanten verlängern.",
    "FILED": "GESTELLT",
    "FOR": "FÜR",
    "Fetch the first token of the tenant and sign in with it.": "Den ersten Token des Mandanten holen und sich "
    "damit anmelden.",
    "File one with `leitstand apply`, or name it.": "Mit `leitstand apply` einen stellen oder ihn nennen.",
    "Follow your application, and fetch the first token.": "Den eigenen Antrag verfolgen und den ersten Token "
    "holen.",
    "For other reviewers and operators.": "Für andere Prüfer und Betreiber.",
    "For the applicant, in your own words.": "Für die antragstellende Person, in eigenen Worten.",
    "Forget the token of `login`, and revoke it if it was made for this.": "Den Token von `login` vergessen und "
    "ihn widerrufen, wenn er dafür gemacht wurde.",
    "Give notice for a tenant. Its exit cannot be taken back.": "Für einen Mandanten kündigen. Sein Ausscheiden "
    "lässt sich nicht zurücknehmen.",
    "Give notice for {tenant}? This cannot be taken back.": "Für den Mandanten {tenant} kündigen? Das lässt sich "
    "nicht zurücknehmen.",
    "Go on showing changes until Ctrl-C.": "Änderungen zeigen, bis Ctrl-C kommt.",
    "Grant a role. Somebody new comes by invitation.": "Eine Rolle geben. Wer neu ist, kommt durch Einladung.",
    "Grant a tenant GPU-hours.": "Einem Mandanten GPU-Stunden geben.",
    "How long it is open.  [default: 7d]": "Wie lange sie gilt.  [sonst: 7d]",
    "How long it is valid.": "Wie lange es gilt.",
    "How long it is valid.  [default: 30d]": "Wie lange er gilt.  [sonst: 30d]",
    "How long until the transition.": "Wie lange bis zum Übergang.",
    "ISSUED": "AUSGESTELLT",
    "Id of the new tenant (a-z, 0-9, -)": "Kennung des neuen Mandanten (a-z, 0-9, -)",
    "In this project; left out: in the whole tenant.": "In diesem Projekt; sonst im ganzen Mandanten.",
    "In this tenant; left out: of the platform.": "In diesem Mandanten; sonst auf der Plattform.",
    "Invite somebody into a tenant or project.": "Jemanden in einen Mandanten oder ein Projekt einladen.",
    "Invite somebody into a tenant or project; prints the code, this once.": "Jemanden in einen Mandanten oder "
    "ein Projekt einladen; zeigt den Code, nur dieses eine Mal.",
    "Issue a token and print its secret, this once.": "Einen Token ausstellen und ihn zeigen, nur dieses eine "
    "Mal.",
    "Its language.  [default: yours]": "Seine Sprache.  [sonst: Ihre]",
    "KIND": "ART",
    "LEITSTAND_TOKEN is set, and goes before what is remembered here.": "LEITSTAND_TOKEN ist gesetzt und geht dem "
    "hier Gemerkten vor.",
    "Legal name": "Rechtlicher Name",
    "Leitweg-ID": "Leitweg-ID",
    "Leitweg-ID (German public bodies)": "Leitweg-ID (öffentliche Stellen in Deutschland)",
    "List and add tenants; suspend, resume, exit, export, erase.": "Mandanten auflisten und hinzufügen; sperren, "
    "entsperren, kündigen, ausgeben, löschen.",
    "List and grant budgets of a tenant.": "Budgets eines Mandanten auflisten und geben.",
    "List and withdraw invitations.": "Einladungen auflisten und zurückziehen.",
    "List applications, newest first.": "Anträge auflisten, die neuesten zuerst.",
    "List names and versions; values are never shown.": "Namen und Versionen auflisten; Werte werden nie gezeigt.",
    "List open invitations, and those of late that are over.": "Offene Einladungen auflisten und die, die "
    "kürzlich endeten.",
    "List the budgets of a tenant, those that have ended, too.": "Die Budgets eines Mandanten auflisten, auch "
    "abgelaufene.",
    "List the projects of a tenant.": "Die Projekte eines Mandanten auflisten.",
    "List the tenants that you see.": "Die Mandanten auflisten, die Sie sehen.",
    "List the users that you see.": "Die Personen auflisten, die Sie sehen.",
    "List who did which administrative act, latest first.": "Auflisten, wer wann was verwaltet hat, das Neueste "
    "zuerst.",
    "List who did which administrative act.": "Auflisten, wer was verwaltet hat.",
    "List who has which role in a tenant.": "Auflisten, wer welche Rolle in einem Mandanten hat.",
    "List your roles, or another's.": "Die eigenen Rollen auflisten oder die einer anderen Person.",
    "List your tokens, or another's; secrets are never shown again.": "Die eigenen Token auflisten oder die einer "
    "anderen Person; ihr Wert wird nie wieder gezeigt.",
    "List, add and close projects of a tenant.": "Projekte eines Mandanten auflisten, hinzufügen und schließen.",
    "List, grant and revoke roles.": "Rollen auflisten, geben und entziehen.",
    "List, issue and revoke tokens.": "Token auflisten, ausstellen und widerrufen.",
    "List, set and delete secrets of a project.": "Geheimnisse eines Projekts auflisten, setzen und löschen.",
    "List, show, add and erase users.": "Personen auflisten, zeigen, hinzufügen und löschen.",
    "NOTE": "NOTIZ",
    "Name an action, like job:submit; --list shows them all.": "Nennen Sie eine Aktion, etwa job:submit; --list "
    "zeigt alle.",
    "No acts.": "Keine Verwaltungsakte.",
    "No application was filed from here at {url}.": "Von hier aus wurde bei {url} kein Antrag gestellt.",
    "No applications.": "Keine Anträge.",
    "No budgets.": "Keine Budgets.",
    "No invitations.": "Keine Einladungen.",
    "No members.": "Keine Mitglieder.",
    "No policy permits it here.": "Keine Regel erlaubt es hier.",
    "No projects.": "Keine Projekte.",
    "No roles.": "Keine Rollen.",
    "No secrets in {place}.": "Keine Geheimnisse in {place}.",
    "No tokens.": "Keine Token.",
    "No users.": "Keine Personen.",
    "Nobody can be asked here; if you are sure, add --yes.": "Hier kann niemand gefragt werden; wenn Sie sicher "
    "sind, geben Sie --yes an.",
    "Nobody entered the code in time.": "Niemand hat den Code rechtzeitig eingegeben.",
    "OPEN": "OFFEN",
    "ORIGIN": "HERKUNFT",
    "Only acts in this tenant.": "Nur in diesem Mandanten.",
    "Only if it is still this version.  [default: the one there now]": "Nur wenn es noch diese Fassung ist.  "
    "[sonst: die jetzige]",
    "Only roles in this project.": "Nur Rollen in diesem Projekt.",
    "Only those in this state.": "Nur die in diesem Zustand.",
    "Only those into this tenant.": "Nur die in diesen Mandanten.",
    "Only who has a role in this tenant.": "Nur wer eine Rolle in diesem Mandanten hat.",
    "Open {url} in a browser, sign in, and enter the code {code}": "Öffnen Sie {url} im Browser, melden Sie sich "
    "an und geben Sie den Code {code} ein",
    "PHONE": "TELEFON",
    "POLICIES": "REGELN",
    "Postcode": "Postleitzahl",
    "Print the completion script of a shell.": "Das Skript ausgeben, mit dem eine Shell Befehle ergänzt.",
    "Print the completion script of a shell; ids of jobs, tenants and projects are completed, too.": "Das Skript "
    "ausgeben, mit dem eine Shell Befehle ergänzt; auch Kennungen von Jobs, Mandanten und Projekten.",
    "Print the data-processing contract that a tenant accepts.": "Den Vertrag zur Auftragsverarbeitung ausgeben, "
    "den ein Mandant annimmt.",
    "Print the data-processing contract.": "Den Vertrag zur Auftragsverarbeitung ausgeben.",
    "ROLE": "ROLLE",
    "ROLES": "ROLLEN",
    "Read `leitstand agreement`, then add --accept-agreement {version}.": "Lesen Sie `leitstand agreement`, dann "
    "geben Sie --accept-agreement {version} an.",
    "Record the outcome of a check; a later one replaces it while the application is open.": "Den Ausgang einer "
    "Prüfung festhalten; ein späterer ersetzt ihn, solange der Antrag offen ist.",
    "Refuse; the applicant reads reason and note.": "Ablehnen; Grund und Notiz werden der antragstellenden Person "
    "gezeigt.",
    "Replace the legal identity by that of a YAML or JSON file.": "Die rechtliche Identität durch die in einer "
    "YAML- oder JSON-Datei ersetzen.",
    "Revoke a role.": "Eine Rolle entziehen.",
    "Revoke tokens: from now on they open nothing.": "Token widerrufen: ab jetzt öffnen sie nichts mehr.",
    "SCOPES": "BEREICHE",
    "SECRET": "GEHEIMNIS",
    "SET": "GESETZT",
    "STAGE": "STAND",
    "SUBJECT": "GEGENSTAND",
    "SUSPENDED": "GESPERRT",
    "Say whether you may do something, and by which policy.": "Sagen, ob Sie etwas dürfen, und nach welcher "
    "Regel.",
    "See what becomes of it: {command}": "Was daraus wird: {command}",
    "Set XDG_CONFIG_HOME to a folder of yours, or use LEITSTAND_TOKEN.": "XDG_CONFIG_HOME auf einen eigenen "
    "Ordner setzen oder LEITSTAND_TOKEN nutzen.",
    "Set a secret to what comes on standard input, or is typed unseen.": "Ein Geheimnis auf das setzen, was auf "
    "der Standardeingabe kommt oder unsichtbar getippt wird.",
    "Show a tenant: stage, projects, budgets, jobs.": "Einen Mandanten zeigen: Stand, Projekte, Budgets, Jobs.",
    "Show a tenant; read and change its legal identity.": "Einen Mandanten zeigen; seine rechtliche Identität "
    "lesen und ändern.",
    "Show a user with the roles that you may see.": "Eine Person mit den Rollen zeigen, die Sie sehen dürfen.",
    "Show an application with its checks and what to look at.": "Einen Antrag mit seinen Prüfungen zeigen und "
    "worauf zu achten ist.",
    "Show how far it is and what happens next; left out: the last one filed here.": "Zeigen, wie weit er ist und "
    "was als Nächstes kommt; sonst den letzten, der von hier gestellt wurde.",
    "Show the legal identity; its version is what `set --expect` takes.": "Die rechtliche Identität zeigen; ihre "
    "Fassung nimmt `set --expect`.",
    "Show who you are: user, token, roles.": "Zeigen, wer Sie sind: Person, Token, Rollen.",
    "Sign in through the browser, or with a token on standard input.": "Sich im Browser anmelden oder mit einem "
    "Token auf der Standardeingabe.",
    "Set it with `leitstand secrets set {name}`, or pass your own on: --secret {name}": "Setzen mit `leitstand secrets "
    "set {name}`, oder Ihre eigene weitergeben: --secret {name}",
    "Sign in with `leitstand login`, or set LEITSTAND_TOKEN.": "Mit `leitstand login` anmelden oder LEITSTAND_TOKEN "
    "setzen.",
    "Sign in with `leitstand login`, or set LEITSTAND_TOKEN: {example}": "Mit `leitstand login` anmelden oder "
    "LEITSTAND_TOKEN setzen: {example}",
    "Size class (2003/361/EC)": "Größenklasse (2003/361/EG)",
    "Stop what runs.": "Beenden, was läuft.",
    "Street and number": "Straße und Nummer",
    "Submit it?": "Einreichen?",
    "Suspend a tenant: no job of it starts; what runs finishes, or is stopped.": "Einen Mandanten sperren: keiner "
    "seiner Jobs beginnt; was läuft, läuft zu Ende oder wird beendet.",
    "Suspend {tenant} and stop its {count} running jobs?": "Den Mandanten {tenant} sperren und seine {count} "
    "laufenden Jobs beenden?",
    "Suspend {tenant}? Its {count} running jobs finish.": "Den Mandanten {tenant} sperren? Seine {count} "
    "laufenden Jobs laufen zu Ende.",
    "TOKEN": "TOKEN",
    "Take a token from standard input (a terminal asks for it); - is the only value.": "Einen Token von der "
    "Standardeingabe nehmen (ein Terminal fragt danach); - ist der einzige Wert.",
    "The control plane.  [default: LEITSTAND_URL, else as before]": "Die Leitstelle.  [sonst: LEITSTAND_URL, "
    "sonst wie zuvor]",
    "The e-mail address.": "Die E-Mail-Adresse.",
    "The new end, like 2027-03-01T00:00:00Z.": "Das neue Ende, etwa 2027-03-01T00:00:00Z.",
    "The plan changed {count} times; with --yes it is not asked for.": "Der Plan änderte sich {count}-mal; mit "
    "--yes wird nicht gefragt.",
    "The plan has changed meanwhile:": "Der Plan hat sich inzwischen geändert:",
    "The project.  [default: the one you work in]": "Das Projekt.  [sonst: das, in dem Sie arbeiten]",
    "The tenant.  [default: the one you work in]": "Der Mandant.  [sonst: der, in dem Sie arbeiten]",
    "The value is empty; give it on standard input.": "Der Wert ist leer; geben Sie ihn auf der Standardeingabe.",
    "Then fetch your token: {command}": "Dann den Token holen: {command}",
    'There is no action "{name}".': "Die Aktion „{name}“ gibt es nicht.",
    'There is no user "{word}".': "„{word}“ ist hier nicht bekannt.",
    "These are missing: {options}": "Es fehlen: {options}",
    "This is version {version}.": "Das ist die Fassung {version}.",
    "Token": "Token",
    "Try again: leitstand login": "Noch einmal: leitstand login",
    "USER": "PERSON",
    "VAT id": "USt-IdNr.",
    "VAT id (empty if there is none)": "USt-IdNr. (leer, wenn es keine gibt)",
    "VERSION": "VERSION",
    "Value of {name}": "Wert von {name}",
    "WHEN": "WANN",
    "WHERE": "WO",
    "WHOSE": "WESSEN",
    "Wait at most so long.": "Höchstens so lange warten.",
    "Wait until it is decided; exit 1 if it is not approved.": "Warten, bis entschieden ist; Exit-Code 1, wenn "
    "nicht genehmigt wurde.",
    "What it may at most; again for more.": "Was er höchstens darf; mehrmals für mehr.",
    "What the person is called.": "Wie die Person heißt.",
    "What was given as a token is none.": "Was als Token angegeben ist, ist keiner.",
    "What you are called, for a new account.": "Wie Sie heißen, für ein neues Konto.",
    "What you want to compute": "Was Sie rechnen wollen",
    "Where alone it is valid.": "Wo allein er gilt.",
    "Where it comes from.": "Woher es kommt.",
    "Who the tenant is before the law: show it, change it.": "Wer der Mandant rechtlich ist: zeigen, ändern.",
    "Whose address it is for.": "Für wessen Adresse sie ist.",
    "Whose wish it is; each once.": "Wessen Wunsch es ist; je einmal.",
    "Whose: id, name or e-mail address.  [default: yours]": "Wessen: Kennung, Name oder E-Mail-Adresse.  [sonst: "
    "Ihre]",
    "Why.": "Warum.",
    "Withdraw an invitation: its code opens nothing any more.": "Eine Einladung zurückziehen: ihr Code öffnet "
    "nichts mehr.",
    "Withdraw it; what you said about yourself is erased at once.": "Ihn zurückziehen; Ihre Angaben werden sofort "
    "gelöscht.",
    "Write everything about a tenant to a zip archive in open formats.": "Alles über einen Mandanten in ein "
    "Zip-Archiv in offenen Formaten schreiben.",
    "You are not signed in at {url}.": "Sie sind bei {url} nicht angemeldet.",
    "You have read and accept this version (see `agreement`).": "Sie haben diese Fassung gelesen und nehmen sie "
    "an (siehe `agreement`).",
    "You work in several tenants, or in none: name one with --tenant.": "Sie arbeiten in mehreren Mandanten oder "
    "in keinem: nennen Sie einen mit --tenant.",
    "Your address, for a new account.  [default: the one that was invited]": "Ihre Adresse, für ein neues Konto.  "
    "[sonst: die eingeladene]",
    "Your e-mail address": "Ihre E-Mail-Adresse",
    "Your name": "Ihr Name",
    "`leitstand users` lists the users.": "`leitstand users` nennt die Personen.",
    "address": "Anschrift",
    "all": "alle",
    "applicant": "antragstellend",
    "application": "Antrag",
    "application {id} for tenant {tenant} is filed": "Antrag {id} für den Mandanten {tenant} ist gestellt",
    "balance sheet": "Bilanzsumme",
    'bash, zsh: put eval "$(leitstand completion bash)" into ~/.bashrc, or with zsh into ~/.zshrc. fish: '
    "leitstand completion fish > ~/.config/fish/completions/leitstand.fish": 'bash, zsh: eval "$(leitstand '
    'completion bash)" in ~/.bashrc schreiben, mit zsh in ~/.zshrc. fish: leitstand completion fish > '
    "~/.config/fish/completions/leitstand.fish",
    "bound to": "gebunden an",
    "class": "Klasse",
    "closed": "geschlossen",
    "control plane": "Leitstelle",
    "decided": "entschieden",
    "deleted {name}": "{name} ist gelöscht",
    "e-mail": "E-Mail",
    "erased": "gelöscht",
    "erased user {user}": "{user} ist gelöscht",
    "expires": "gilt bis",
    "filed": "gestellt",
    "folders of runs": "Ordner von Läufen",
    "headcount": "Beschäftigte",
    "in {span}": "in {span}",
    "invitation {id}, expires {when}; whoever has its code types:": "Einladung {id}, läuft {when} ab; wer den "
    "Code hat, tippt:",
    "legal name": "rechtlicher Name",
    "linked": "verbunden",
    "look at: {where} {what}": "zu beachten: {where} {what}",
    "never": "nie",
    "next": "als Nächstes",
    "none: no price plan is in force": "keiner: es gilt noch kein Preisplan",
    "not signed in at {url}": "bei {url} nicht angemeldet",
    "note": "Notiz",
    "people": "Personen",
    "price": "Preis",
    "profiles": "Profile",
    "project {name} is closed": "Projekt {name} ist geschlossen",
    "project {name} is open": "Projekt {name} ist offen",
    "projects": "Projekte",
    "purpose": "Zweck",
    "records of jobs": "Angaben zu Jobs",
    "retrieval": "Abholung",
    "revoked": "entzogen",
    "scopes": "Bereiche",
    "secrets": "Geheimnisse",
    "signed in at {url} as {name}": "bei {url} angemeldet als {name}",
    "signed out of {url}": "bei {url} abgemeldet",
    "size class": "Größenklasse",
    "stage": "Stand",
    "suspended": "gesperrt",
    "the legal identity is as in {path} now": "die rechtliche Identität ist jetzt wie in {path}",
    "the token is forgotten here, but was not revoked:": "der Token ist hier vergessen, wurde aber nicht "
    "widerrufen:",
    "token {id} is revoked": "Token {id} ist widerrufen",
    "token {id}, expires {when}; its secret is shown this once:": "Token {id}, läuft {when} ab; er wird nur "
    "dieses eine Mal gezeigt:",
    "transition": "Übergang",
    "turnover": "Umsatz",
    "user": "Person",
    "version": "Fassung",
    "withdrawn: invitation {id}": "zurückgezogen: Einladung {id}",
    "work directories": "Arbeitsverzeichnisse",
    "works in": "arbeitet in",
    "wrote {path}, {size} bytes": "{path} ist geschrieben, {size} Bytes",
    "you are {role} of {place} now": "Sie sind jetzt {role} von {place}",
    "{jobs} in all, {pending} waiting, {running} running": "{jobs} insgesamt, {pending} wartend, {running} "
    "laufend",
    "{path} cannot be written: {why}": "{path} lässt sich nicht schreiben: {why}",
    "{path} has to be a mapping of names to values.": "{path} muss eine Zuordnung von Namen zu Werten sein.",
    "{path} is larger than {limit} bytes.": "{path} ist größer als {limit} Bytes.",
    "{path} is no YAML: {why}": "{path} ist kein YAML: {why}",
    "{span} ago": "vor {span}",
    "{tenant}: {granted:g} GPU-hours granted, {used} used so far": "{tenant}: {granted:g} GPU-Stunden gegeben, "
    "{used} bisher verbraucht",
    "{tenant}: {stage}, {jobs} jobs in all, {pending} waiting, {running} running": "{tenant}: {stage}, {jobs} "
    "Jobs insgesamt, {pending} wartend, {running} laufend",
    "Add --url, as the invitation has it.": "--url dazuschreiben, wie es in der Einladung steht.",
    "Sign out all the same?": "Trotzdem abmelden?",
    "This is your only valid token. Without it you come back by an invitation or through an operator.": "Das ist Ihr "
    "einziger gültiger Token. Ohne ihn kommen Sie durch eine Einladung wieder herein oder durch den Betreiber.",
    "Wait with: leitstand application show --wait": "Warten mit: leitstand application show --wait",
    '"{text}" is no moment; write it like 2027-03-01T00:00:00Z': "„{text}“ ist kein Zeitpunkt; schreiben Sie ihn wie "
    "2027-03-01T00:00:00Z",
}

# Roles, stages of tenants, reasons of suspensions, states and checks of applications, origins, kinds, classes: the
# closed lists of the core, by their codes.
ACCESS_CODES: Final[dict[str, str]] = {
    "operator": "Betreiber",
    "auditor": "Revision",
    "reviewer": "Prüfer",
    "tenant_admin": "Mandantenverwaltung",
    "member": "Mitglied",
    "viewer": "Beobachter",
    "applicant": "Antragstellende",
    "active": "aktiv",
    "notice": "gekündigt",
    "transition": "Übergang",
    "retrieval": "Abholung",
    "closed": "geschlossen",
    "unpaid": "unbezahlt",
    "terms": "Vertragsbruch",
    "security": "Sicherheit",
    "authority": "Behörde",
    "requested": "gewünscht",
    "open": "offen",
    "approved": "genehmigt",
    "refused": "abgelehnt",
    "withdrawn": "zurückgezogen",
    "accepted": "angenommen",
    "expired": "abgelaufen",
    "passed": "bestanden",
    "identity": "Identität",
    "sanctions": "Sanktionen",
    "export_control": "Exportkontrolle",
    "size_class": "Größenklasse",
    "agreement": "Vertrag",
    "purpose": "Zweck",
    "incomplete": "unvollständig",
    "other": "anderes",
    "paid": "bezahlt",
    "grant": "Zuwendung",
    "subsidised": "gefördert",
    "api": "API",
    "session": "Sitzung",
    "micro": "Kleinst",
    "small": "klein",
    "medium": "mittel",
    "large": "groß",
    "public": "öffentlich",
    "industry": "Industrie",
    "startup": "Start-up",
    "research": "Forschung",
    "contract": "Vertrag",
    "billing": "Rechnung",
    "technical": "Technik",
    "privacy": "Datenschutz",
}

# What happens next to an application, by its state and how far its checks are.
NEXT: Final[dict[str, str]] = {
    "waiting": "Noch zu prüfen: {checks}. Antragstellende müssen nichts tun.",
    "failed": "Nicht bestanden: {checks}. Die Prüfung sieht noch einmal hin, oder der Betreiber lehnt ab.",
    "checked": "Alle Prüfungen sind bestanden. Nun entscheidet der Betreiber.",
    "claimed": "Der Mandant {tenant} ist da, und sein erster Token ist geholt.",
    "approved": "Der Mandant {tenant} ist da. Den ersten Token holt: leitstand application claim",
    "refused": "Er wurde abgelehnt, siehe Grund und Notiz. Ein neuer Antrag ist möglich.",
    "withdrawn": "Er wurde zurückgezogen. Ein neuer Antrag ist möglich.",
}
