# A drawing of who says what to whom, from text to SVG: awk -f sequence.awk x.txt >x.svg. Time goes down;
# it is made to be read at the width of a telephone, by light and by night.
#
#     title WORDS             what the drawing shows, for those who do not see it
#     lane NAME WORDS         who takes part, from left to right
#     NAME > NAME: WORDS      an arrow; with => a heavy one
#     NAME: WORDS             what somebody does for himself
#     [ NAME  and  ] NAME     from here to there a bar stands on the lane
#     -- WORDS                a line across; without words, some room
#
# Lines that are empty or begin with # say nothing.

BEGIN {
    WIDTH = 360
    MARGIN = 46
    LINE = 15   # between lines of text
    CHAR = 6.4  # what a letter takes, about
    y = 0
}

function escape(text)
{
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}

# The words in lines of at most so many letters, in lines[]; returns how many.
function wrap(text, most, count, i, word, words)
{
    count = split(text, word, " ")
    words = 1
    lines[1] = word[1]
    for (i = 2; i <= count; i++)
        if (length(lines[words] " " word[i]) > most)
            lines[++words] = word[i]
        else
            lines[words] = lines[words] " " word[i]
    return words
}

# Centred lines of text from y on, wholly inside of the drawing.
function write(x, text, most, class, count, i, half)
{
    count = wrap(text, most)
    for (i = 1; i <= count; i++) {
        half = length(lines[i]) * CHAR / 2
        body = body sprintf("<text class=\"%s\" x=\"%.0f\" y=\"%.0f\">%s</text>\n", class, inside(x, half), y,
                            escape(lines[i]))
        y += LINE
    }
}

function inside(x, half)
{
    if (x - half < 4)
        return 4 + half
    return x + half > WIDTH - 4 ? WIDTH - 4 - half : x
}

function at(name)
{
    if (!(name in place)) {
        printf "%s:%d: there is no %s\n", FILENAME, FNR, name >"/dev/stderr"
        failed = 1
        exit 1
    }
    return MARGIN + (place[name] - 1) * (WIDTH - 2 * MARGIN) / (lanes - 1)
}

# What stands behind the first words of the line.
function rest(words, text)
{
    text = $0
    while (words-- > 0)
        sub(/^[ ]*[^ ]+[ ]*/, "", text)
    return text
}

/^#/ || NF == 0 { next }
$1 == "title" { title = rest(1); next }
$1 == "lane" { place[$2] = ++lanes; shown[lanes] = rest(2); next }

# Lanes come first, so now it is known where they stand.
!y {
    most = 0
    for (i = 1; i <= lanes; i++) {
        count = wrap(shown[i], int(WIDTH / lanes / CHAR) - 1)
        most = count > most ? count : most
    }
    for (i in place) {
        y = 18
        write(at(i), shown[place[i]], int(WIDTH / lanes / CHAR) - 1, "who")
        # mawk and gawk walk over an array in an order of their own.
        head[place[i]] = body
        body = ""
    }
    for (i = 1; i <= lanes; i++)
        body = body head[i]
    top = y = 8 + most * LINE + 6
    y += LINE
}

$1 == "--" {
    y += 4
    if (NF > 1) {
        body = body sprintf("<line class=\"cut\" x1=\"8\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", y - 11, WIDTH - 8, y - 11)
        y += 8
        write(WIDTH / 2, rest(1), 50, "cut")
    }
    y += 4
    next
}

$1 == "[" { at($2); from[$2] = y - 8; next }
$1 == "]" {
    bars = bars sprintf("<rect class=\"bar\" x=\"%.0f\" y=\"%.0f\" width=\"10\" height=\"%.0f\" rx=\"3\"/>\n",
                        at($2) - 5, from[$2], y - 8 - from[$2])
    next
}

$2 == ">" || $2 == "=>" {
    to = $3
    sub(/:$/, "", to)
    x1 = at($1)
    x2 = at(to)
    heavy = $2 == "=>" ? " heavy" : ""
    way = x2 > x1 ? 1 : -1
    write((x1 + x2) / 2, rest(3), 46, "say" heavy)
    y -= 7
    x2 -= way * 3
    body = body sprintf("<path class=\"say%s\" d=\"M%.0f %dH%.0f\"/><path class=\"tip%s\" d=\"M%.0f %dl%d -4v8z\"/>\n",
                        heavy, x1, y, x2 - way * 6, heavy, x2 + way * 2, y, -way * 9)
    y += LINE + 8
    next
}

$1 ~ /:$/ {
    to = $1
    sub(/:$/, "", to)
    count = wrap(rest(1), 30)
    long = 0
    for (i = 1; i <= count; i++)
        long = length(lines[i]) > long ? length(lines[i]) : long
    half = long * CHAR / 2 + 6
    x = inside(at(to), half)
    body = body sprintf("<rect class=\"do\" x=\"%.0f\" y=\"%d\" width=\"%.0f\" height=\"%d\" rx=\"4\"/>\n",
                        x - half, y - 12, 2 * half, count * LINE + 4)
    write(x, rest(1), 30, "do")
    y += 10
    next
}

{
    printf "%s:%d: what is this: %s\n", FILENAME, FNR, $0 >"/dev/stderr"
    failed = 1
    exit 1
}

END {
    if (failed)
        exit 1
    height = y + 2
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        WIDTH, height, WIDTH * 1.4, height * 1.4
    printf "<title>%s</title>\n", escape(title)
    print "<style>"
    print "svg{--paper:#fff;--ink:#222;--line:#777;--soft:#e8eef5;--heavy:#b3261e;--bar:#f2c14e}"
    print "@media(prefers-color-scheme:dark){svg{--paper:#16181d;--ink:#e6e6e6;--line:#8a8f98;--soft:#2a3342;" \
          "--heavy:#ff8a80;--bar:#a87b1f}}"
    print ".paper{fill:var(--paper);stroke:var(--line);stroke-width:.5}"
    print "text{font:12px system-ui,sans-serif;text-anchor:middle;fill:var(--ink)}"
    print "text.who{font-weight:bold}"
    print "text.say,text.cut{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}"
    print "text.cut{font-style:italic}"
    print "text.heavy{fill:var(--heavy);font-weight:bold}"
    print ".lane{stroke:var(--line);stroke-dasharray:2 3}"
    print ".bar{fill:var(--bar)}"
    print ".do{fill:var(--soft)}text.do{fill:var(--ink)}"
    print "line.cut{stroke:var(--line);stroke-width:.7}"
    print "path.say{stroke:var(--ink);stroke-width:1.4;fill:none}.tip{fill:var(--ink)}"
    print "path.heavy{stroke:var(--heavy);stroke-width:2.4}.tip.heavy{fill:var(--heavy)}"
    print "</style>"
    printf "<rect class=\"paper\" x=\".5\" y=\".5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", WIDTH - 1, height - 1
    for (i = 1; i <= lanes; i++) {
        x = MARGIN + (i - 1) * (WIDTH - 2 * MARGIN) / (lanes - 1)
        printf "<line class=\"lane\" x1=\"%.0f\" y1=\"%d\" x2=\"%.0f\" y2=\"%d\"/>\n", x, top - 4, x, height - 8
    }
    printf "%s%s</svg>\n", bars, body
}
