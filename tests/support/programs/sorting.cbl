       IDENTIFICATION DIVISION.
       PROGRAM-ID. SORTING.
      * BUBBLE SORT, BINARY SEARCH AND A RUNNING MEDIAN.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 VALUES-AREA.
          05 ITEM             PIC S9(5) OCCURS 10 TIMES.
       01 N                   PIC 9(3) VALUE 8.
       01 I                   PIC 9(3).
       01 J                   PIC 9(3).
       01 LIMIT-J             PIC 9(3).
       01 HELD                PIC S9(5).
       01 SWAPPED             PIC X VALUE "Y".
          88 NO-SWAP          VALUE "N".
       01 LOW-I               PIC S9(3).
       01 HIGH-I              PIC S9(3).
       01 MID-I               PIC S9(3).
       01 TARGET-V            PIC S9(5).
       01 PLACE-V             PIC 9(3).
       01 MEDIAN-V            PIC S9(5)V9.
       01 SHOWN               PIC -(5)9.
       PROCEDURE DIVISION.
       MAIN-PROCEDURE.
           MOVE 42 TO ITEM(1)
           MOVE -7 TO ITEM(2)
           MOVE 15 TO ITEM(3)
           MOVE 0 TO ITEM(4)
           MOVE 99 TO ITEM(5)
           MOVE 15 TO ITEM(6)
           MOVE -30 TO ITEM(7)
           MOVE 8 TO ITEM(8)
           PERFORM SORT-VALUES
           PERFORM VARYING I FROM 1 BY 1 UNTIL I > N
              MOVE ITEM(I) TO SHOWN
              DISPLAY SHOWN
           END-PERFORM
           MOVE 15 TO TARGET-V
           PERFORM FIND-TARGET
           IF PLACE-V > 0 THEN
              DISPLAY "FOUND AT " PLACE-V
           ELSE
              DISPLAY "NOT FOUND"
           END-IF
           DIVIDE N BY 2 GIVING MID-I
           IF FUNCTION MOD(N, 2) = 1
              ADD 1 TO MID-I
              MOVE ITEM(MID-I) TO MEDIAN-V
           ELSE
              COMPUTE MEDIAN-V =
                 (ITEM(MID-I) + ITEM(MID-I + 1)) / 2
           END-IF
           DISPLAY "MEDIAN " MEDIAN-V
           STOP RUN.
       SORT-VALUES.
           MOVE N TO LIMIT-J
           PERFORM UNTIL NO-SWAP
              MOVE "N" TO SWAPPED
              SUBTRACT 1 FROM LIMIT-J
              PERFORM VARYING J FROM 1 BY 1 UNTIL J > LIMIT-J
      *          NEIGHBOURS OUT OF ORDER
                 IF ITEM(J) > ITEM(J + 1)
                    MOVE ITEM(J) TO HELD
                    MOVE ITEM(J + 1) TO ITEM(J)
                    MOVE HELD TO ITEM(J + 1)
                    MOVE "Y" TO SWAPPED
                 END-IF
              END-PERFORM
           END-PERFORM.
       FIND-TARGET.
           MOVE 0 TO PLACE-V
           MOVE 1 TO LOW-I
           MOVE N TO HIGH-I
           PERFORM UNTIL LOW-I > HIGH-I OR PLACE-V NOT = 0
              COMPUTE MID-I = (LOW-I + HIGH-I) / 2
              EVALUATE TRUE
                 WHEN ITEM(MID-I) = TARGET-V
                    MOVE MID-I TO PLACE-V
                 WHEN ITEM(MID-I) < TARGET-V
                    COMPUTE LOW-I = MID-I + 1
                 WHEN OTHER
                    COMPUTE HIGH-I = MID-I - 1
              END-EVALUATE
           END-PERFORM.
