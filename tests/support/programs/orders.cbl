       IDENTIFICATION DIVISION.
       PROGRAM-ID. ORDERS.
       ENVIRONMENT DIVISION.
       INPUT-OUTPUT SECTION.
       FILE-CONTROL.
           SELECT ORDER-FILE ASSIGN TO "orders.dat"
               ORGANIZATION IS LINE SEQUENTIAL
               FILE STATUS IS FILE-STATUS.
       DATA DIVISION.
       FILE SECTION.
       FD ORDER-FILE.
       01 ORDER-RECORD.
          05 ORD-ID             PIC 9(4).
          05 ORD-REGION         PIC X(2).
          05 ORD-QTY            PIC 9(3).
          05 ORD-PRICE          PIC 9(4)V99.
       WORKING-STORAGE SECTION.
       01 FILE-STATUS           PIC XX.
       01 EOF-FLAG              PIC X VALUE "N".
          88 END-OF-ORDERS      VALUE "Y".
       01 LINE-TOTAL            PIC 9(7)V99.
       01 DISCOUNT              PIC 9(5)V99.
       01 GRAND-TOTAL           PIC 9(9)V99 VALUE ZERO.
       01 COUNTERS.
          05 NORTH-COUNT        PIC 9(4) VALUE ZERO.
          05 SOUTH-COUNT        PIC 9(4) VALUE ZERO.
          05 OTHER-COUNT        PIC 9(4) VALUE ZERO.
       01 MESSAGE-LINE          PIC X(40).
       01 MESSAGE-PTR           PIC 9(2).
       01 RUN-CODE              PIC 9 VALUE 0.
       PROCEDURE DIVISION.
       MAIN-SECTION SECTION.
       START-PARA.
           OPEN INPUT ORDER-FILE
           IF FILE-STATUS NOT = "00"
              DISPLAY "CANNOT OPEN: " FILE-STATUS
              MOVE 1 TO RUN-CODE
           ELSE
              PERFORM READ-ORDER
              PERFORM WITH TEST BEFORE UNTIL END-OF-ORDERS
                 PERFORM PROCESS-ORDER
                 PERFORM READ-ORDER
              END-PERFORM
              CLOSE ORDER-FILE
           END-IF
           PERFORM SHOW-TOTALS
           MOVE RUN-CODE TO RETURN-CODE
           STOP RUN.
       READ-ORDER.
           READ ORDER-FILE
              AT END SET END-OF-ORDERS TO TRUE
              NOT AT END
                 IF ORD-QTY IS NOT NUMERIC
                    MOVE 0 TO ORD-QTY
                 END-IF
           END-READ.
       PROCESS-ORDER.
           MULTIPLY ORD-QTY BY ORD-PRICE GIVING LINE-TOTAL
              ON SIZE ERROR
                 DISPLAY "TOO LARGE " ORD-ID
                 MOVE 0 TO LINE-TOTAL
           END-MULTIPLY
           IF ORD-QTY >= 100
              COMPUTE DISCOUNT ROUNDED = LINE-TOTAL * 0.10
           ELSE
              IF ORD-QTY >= 10 AND (ORD-REGION = "NO" OR "SO")
                 DIVIDE LINE-TOTAL BY 20 GIVING DISCOUNT ROUNDED
              ELSE
                 MOVE 0 TO DISCOUNT
              END-IF
           END-IF
           SUBTRACT DISCOUNT FROM LINE-TOTAL
           ADD LINE-TOTAL TO GRAND-TOTAL
           EVALUATE ORD-REGION
              WHEN "NO"
                 ADD 1 TO NORTH-COUNT
              WHEN "SO"
                 ADD 1 TO SOUTH-COUNT
              WHEN OTHER
                 ADD 1 TO OTHER-COUNT
                 INSPECT ORD-REGION REPLACING ALL SPACE BY "?"
           END-EVALUATE.
       SHOW-TOTALS.
           MOVE SPACES TO MESSAGE-LINE
           MOVE 1 TO MESSAGE-PTR
           STRING "N=" DELIMITED BY SIZE
                  NORTH-COUNT DELIMITED BY SIZE
                  " S=" DELIMITED BY SIZE
                  SOUTH-COUNT DELIMITED BY SIZE
                  INTO MESSAGE-LINE
                  WITH POINTER MESSAGE-PTR
              ON OVERFLOW DISPLAY "NO ROOM"
           END-STRING
           DISPLAY MESSAGE-LINE(1:20)
           IF GRAND-TOTAL = 0 AND OTHER-COUNT = 0
              DISPLAY "NOTHING SOLD"
           END-IF
           DISPLAY "GRAND TOTAL " GRAND-TOTAL.
