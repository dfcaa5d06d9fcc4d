# One file out of many: amalgamate.awk <header>... writes balloon.h, amalgamate.awk <source>...
# balloon.c, to standard output. A name that a file keeps to itself gets the name of the file behind it
# where another file has it, too, for something else; what files share becomes static.

function die(why) { print "amalgamate.awk: " why | "cat 1>&2"; exit 1 }

function base(path) { sub(/.*\//, "", path); sub(/\.[ch]$/, "", path); return path }

# Where "included" in path is.
function beside(path, included) {
    sub(/[^\/]*$/, "", path); path = path included
    while (sub(/[^\/.]+\/\.\.\//, "", path));
    return path
}

# ---- Reading: text of a file, what it includes, its own names --------------------------------------
# Headers without a guard are parts of what includes them.
function read_in(path, into,   line, status, seen, inner) {
    while ((status = (getline line < path)) > 0) {
        seen = 1
        if (line ~ /^ *#include "/) {
            inner = line; sub(/^[^"]*"/, "", inner); sub(/".*/, "", inner); inner = beside(path, inner)
            if (has_guard(inner)) { if (!(inner in text)) read_in(inner, inner); needs[into] = needs[into] " " inner }
            else read_in(inner, into)
        } else if (line ~ /^ *#include <balloon\//) {
            inner = line; sub(/^[^<]*</, "", inner); sub(/>.*/, "", inner); needs[into] = needs[into] " include/" inner
        } else text[into] = text[into] line "\n"
    }
    if (!seen || status < 0) die("cannot read " path)
    close(path)
}

function has_guard(path,   line, found) {
    if (!(path in guard)) {
        while ((getline line < path) > 0) if (line ~ /^#ifndef BALLOON_[A-Z0-9_]*_H$/) found = 1
        close(path); guard[path] = found
    }
    return guard[path]
}

# Next token of rest, into token and kind: comment, string, name, number, space or sign.
function next_token() {
    kind = "sign"; RLENGTH = 1
    if (match(rest, /^[ \t\n]+/)) kind = "space"
    else if (substr(rest, 1, 2) == "/*") { kind = "comment"; RLENGTH = index(rest, "*/") + 1 }
    else if (match(rest, /^[A-Za-z_][A-Za-z0-9_]*/)) kind = "name"
    else if (match(rest, /^[0-9][A-Za-z0-9_.]*/)) kind = "number"
    else if (match(rest, /^"([^"\\]|\\.)*"/) || match(rest, /^'([^'\\]|\\.)*'/)) kind = "string"
    else if (substr(rest, 1, 2) == "->") RLENGTH = 2
    else RLENGTH = 1
    token = substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1)
}

# The names are found in what stands outside of braces, a statement at a time. Those of structs,
# unions and enums are apart from the others.
function define(path, name) {
    if (name ~ /^(tag )?(balloon|bl|BALLOON)_/ || (path, name) in own) return
    own[path, name] = 1; owners[name]++; definer[name] = path; own_list[path] = own_list[path] "," name
}

function names_of(path,   all, n, i, line, buffer, unless) {
    n = split(text[path], all, "\n")
    for (i = 1; i <= n; i++) {
        line = all[i]
        if (line !~ /^ *#/) { buffer = buffer line "\n"; continue }
        if (line ~ /^ *#ifndef /) { unless = line; sub(/^ *#ifndef /, "", unless) }
        else if (line ~ /^ *#define /) {
            sub(/^ *#define /, "", line); sub(/[^A-Za-z0-9_].*/, "", line)
            if (line != unless) define(path, line)
            unless = ""
        }
        while (all[i] ~ /\\$/) i++
    }
    rest = buffer; statements(path)
}

function statements(path,   depth, head, count, enumerates, before, function_body) {
    count = depth = 0
    while (rest != "") {
        next_token()
        if (kind == "space" || kind == "comment") continue
        if (token == "}") { if (--depth == 0) { enumerates = 0; if (function_body) count = function_body = 0 }; continue }
        if (depth > 0) {
            if (token == "{") depth++
            else if (enumerates && kind == "name" && (before == "{" || before == ",")) define(path, token)
            before = token; continue
        }
        if (token == "{") {
            if (head[count - 1] ~ TAGGED) define(path, "tag " head[count])
            enumerates = head[count] == "enum" || head[count - 1] == "enum"
            if (head[count] == ")") { function_body = 1; declared(path, head, count) }
            else if (head[count] == "=") declared(path, head, count)
            depth++; before = token; continue
        }
        if (token == ";") { declared(path, head, count); count = 0; continue }
        head[++count] = token; kinds[count] = kind
    }
}

# The name that a statement gives, if it is of this file alone.
function declared(path, head, count,   i, name) {
    if (head[1] == "typedef") {
        for (i = 2; i <= count; i++) {
            if (head[i] == "(" && head[i + 1] == "*") { define(path, head[i + 2]); return }
            if (head[i] == "[") break
            if (kinds[i] == "name") name = head[i]
        }
        define(path, name); return
    }
    if (head[1] != "static") return
    for (i = 2; i <= count && head[i] !~ /^[\[(=]$/; i++) if (kinds[i] == "name") name = head[i]
    define(path, name)
}

# ---- Writing ---------------------------------------------------------------------------------------
# Who owns the names in path: itself, or what it includes.
function learn(path, from,   list, n, i) {
    if (learned[path, from]++) return
    n = split(own_list[from], list, ",")
    for (i = 1; i <= n; i++) if (!((path, list[i]) in owner)) owner[path, list[i]] = from
    n = split(needs[from], list, " ")
    for (i = 1; i <= n; i++) if (list[i] !~ /^include/) learn(path, list[i])
}

# Takes the tokens of path and makes them names, as far as they are not members of a struct. In the first
# round only looks at who uses which; a name that means two things is then another in the second.
function pass(path, printing,   before, whose, name, depth, struct, is_struct, directive, begins) {
    rest = text[path]; depth = is_struct = directive = 0; begins = 1
    while (rest != "") {
        if (begins && depth == 0 && !directive && rest ~ /^[a-z_]/) begins = share()
        next_token()
        if (kind == "space" || kind == "comment") {
            if (kind == "space" && token ~ /\n/ && before != "\\") directive = 0
            if (printing) printf "%s", token
            continue
        }
        if (token == "#") directive = 1
        name = before ~ TAGGED ? "tag " token : token
        if (kind == "name" && before != "." && before != "->" && !(struct[depth] && is_member(before))) {
            whose = owner_of(path, name)
            if (!printing) { if (index(meanings[name], " " whose " ") == 0) meanings[name] = meanings[name] " " whose " " }
            else if (whose != "nobody" && meanings[name] ~ /  /) token = token "_" base(whose)
        }
        before = token
        if (printing) printf "%s", token
        if (directive) continue
        begins = token ~ /^[;}]$/
        if (token ~ TAGGED) is_struct = token != "enum"
        else if (kind != "name") { if (token == "{") struct[++depth] = is_struct; else if (token == "}") depth--; is_struct = 0 }
    }
}

# Where a statement begins that says what files share, such as bl_clamp(): it is all in one file now.
function share(   head) {
    match(rest, /^[^;{=(]*\(?/); head = substr(rest, 1, RLENGTH)
    if (head !~ /^(static|typedef) / && head !~ /^(struct|union|enum) [a-z_0-9]+ *$/ && head ~ /^[a-z_0-9 \n*]*[ *]bl_[a-z_0-9]+ *([[(]|$)/) {
        sub(/^extern /, "", rest); rest = (head ~ /\($/ ? "BALLOON_INTERNAL " : "BALLOON_INTERNAL_DATA ") rest
    }
    return 0
}

# A struct may be used where it is not defined.
function owner_of(path, name) {
    if ((path, name) in owner) return owner[path, name]
    return name ~ /^tag / && owners[name] == 1 ? definer[name] : "nobody"
}

# Is the token that was just taken the name of a member?
function is_member(before) { return rest ~ /^[ \t\n]*[;,:\[]/ || (before == "*" && rest ~ /^\)/) }

function write(path,   list, n, i) {
    if (written[path]++) return
    n = split(needs[path], list, " ")
    for (i = 1; i <= n; i++) if (list[i] in text) write(list[i])
    print "\n/* ---- " path " ---- */"
    pass(path, 1)
}

BEGIN {
    TAGGED = "^(struct|union|enum)$"
    for (i = 1; i < ARGC; i++) if (!(ARGV[i] in text)) read_in(ARGV[i], ARGV[i])
    if (ARGV[1] ~ /\.h$/) {
        print "/* libballoon " version ": all of its headers. Its licence is at the start of balloon.c. */"
        for (i = 1; i < ARGC; i++) write(ARGV[i])
        exit
    }
    print "/* libballoon " version ", in one file. Compile it with balloon.h beside it, for a place without an\n" \
        " * operating system as well (-ffreestanding); lib/os and lib/alloc.c are then left out.\n *"
    while ((getline line < licence) > 0) print line == "" ? " *" : " * " line
    print " */"
    print "#if __STDC_HOSTED__\n#ifndef _GNU_SOURCE\n#define _GNU_SOURCE\n#endif\n#ifndef _FILE_OFFSET_BITS\n" \
        "#define _FILE_OFFSET_BITS 64\n#endif\n#endif\n#include \"balloon.h\"\n"
    # Not inline: what was measured is the code of separate files, and it is smaller.
    print "#ifndef BALLOON_INTERNAL\n#ifdef __GNUC__\n#define BALLOON_INTERNAL static __attribute__((__noinline__, __unused__))\n" \
        "#define BALLOON_INTERNAL_DATA static __attribute__((__unused__))\n#else\n#define BALLOON_INTERNAL static\n" \
        "#define BALLOON_INTERNAL_DATA static\n#endif\n#endif"
    for (path in text) names_of(path)
    for (path in text) { learn(path, path); pass(path, 0) }
    for (i = 1; i < ARGC; i++) if (ARGV[i] !~ /^lib\/(os\/|alloc)/) write(ARGV[i])
    print "\n#if __STDC_HOSTED__"
    for (i = 1; i < ARGC; i++) write(ARGV[i])
    print "#endif"
}
