identification division.
program-id. words.
data division.
working-storage section.
01 ws-text        pic x(60) value "the cat and the dog and the bird".
01 ws-word        pic x(20).
01 ws-pointer     pic 9(3).
01 ws-length      pic 9(3).
01 ws-i           pic 9(3).
01 ws-j           pic 9(3).
01 ws-found       pic 9.
01 ws-table.
   05 ws-entry occurs 20 times.
      10 ws-key   pic x(20).
      10 ws-seen  pic 9(3).
01 ws-entries     pic 9(3) value 0.
01 ws-best        pic 9(3) value 0.
01 ws-best-word   pic x(20).
01 ws-reversed    pic x(60) value spaces.
01 ws-vowels      pic 9(3) value 0.
01 ws-letter      pic x.

procedure division.
main-line.
    compute ws-length = function length(function trim(ws-text))
    move 1 to ws-pointer
    perform until ws-pointer > ws-length
        move spaces to ws-word
        unstring ws-text delimited by all space
            into ws-word
            with pointer ws-pointer
        end-unstring
        if ws-word not = spaces
            perform remember-word
        end-if
    end-perform
    perform varying ws-i from 1 by 1 until ws-i > ws-entries
        if ws-seen(ws-i) > ws-best
            move ws-seen(ws-i) to ws-best
            move ws-key(ws-i) to ws-best-word
        end-if
        display function trim(ws-key(ws-i)) " " ws-seen(ws-i)
    end-perform
    display "most often: " function upper-case(function trim(ws-best-word))
    move ws-length to ws-j
    perform varying ws-i from 1 by 1 until ws-j < 1
        move ws-text(ws-j:1) to ws-reversed(ws-i:1)
        subtract 1 from ws-j
    end-perform
    display function trim(ws-reversed)
    perform count-vowels
    display "vowels " ws-vowels
    if function mod(ws-vowels, 2) = 0 and ws-vowels is not zero
        display "even"
    else
        display "odd"
    end-if
    goback.

remember-word.
    move 0 to ws-found
    perform varying ws-i from 1 by 1
        until ws-i greater than ws-entries or ws-found equal to 1
        if ws-key(ws-i) = ws-word
            add 1 to ws-seen(ws-i)
            move 1 to ws-found
            exit perform
        end-if
    end-perform
    if ws-found equal 0
        add 1 to ws-entries
        move ws-word to ws-key(ws-entries)
        move 1 to ws-seen(ws-entries)
    end-if.

count-vowels.
    perform varying ws-i from 1 by 1 until ws-i > ws-length
        move ws-text(ws-i:1) to ws-letter
        evaluate ws-letter
            when "a" when "e" when "i" when "o" when "u"
                add 1 to ws-vowels
            when space
                exit perform cycle
            when other
                continue
        end-evaluate
    end-perform.
